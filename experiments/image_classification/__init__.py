"""One to one: which digit is in the image? A feed-forward network beside recurrent readers."""
