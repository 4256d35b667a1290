"""A study's front for people: a picture, a page, a table and a note. All from the content of front.json."""
