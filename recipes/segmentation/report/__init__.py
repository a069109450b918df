"""What the pages of a segmentation run show: rows and cells, drawings, pictures of cases."""
