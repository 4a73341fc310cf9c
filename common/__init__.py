"""The ground floor, on which every room stands: errors, files, caches, progress, shared options."""
