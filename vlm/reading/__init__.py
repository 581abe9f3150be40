"""Documents to text: files to pages, pages to lines with their places, and what is written of them."""
