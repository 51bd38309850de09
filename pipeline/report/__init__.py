"""Tables as HTML pages. Nothing is computed here: what a page shows was decided by those who hand it over."""
