"""What is opened and must be closed, as a context manager."""

from types import TracebackType
from typing import Self


class Closing:
    """Calls `close` where its `with` block ends, however it ends."""

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Ends the use of it; to close it again does nothing."""
        raise NotImplementedError
