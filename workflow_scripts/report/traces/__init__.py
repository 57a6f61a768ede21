"""The figure of traced texts, and the data of the box on the page that shows any one of them."""
