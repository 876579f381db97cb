"""Whether it shows in an answer that its object is lost: features of answers, calibrated on drawn clips, judged on others."""
