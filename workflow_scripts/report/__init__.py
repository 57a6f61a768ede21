"""Figure style, figures, tables, the HTML report."""
