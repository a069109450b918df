"""Scripts that record golden values with other libraries; no test runs them."""
