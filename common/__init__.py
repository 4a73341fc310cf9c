"""The ground floor, on which every room stands: errors, files, progress."""
