"""Where studies are kept: a folder or a bucket, held by one driver, and what nodes fetch from it."""
