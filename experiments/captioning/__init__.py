"""One to many: what is in the picture? A CNN whose features start a recurrent decoder of words."""
