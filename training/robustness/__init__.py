"""What one table of figures cannot show: shifts of source and site, watermarks, out-of-distribution, few patients."""
