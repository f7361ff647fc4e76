"""Many to many, in step: the next character of Shakespeare's plays, in bits a character."""
