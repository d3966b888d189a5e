"""Refiner `gc`: Gaussian correction of the thresholded CAM's labels."""
