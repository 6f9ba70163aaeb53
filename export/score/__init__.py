"""Models against labelled data: scores, reports, pages."""
