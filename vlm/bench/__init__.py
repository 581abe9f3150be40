"""``vlm bench``: our speed and memory beside the peers', measured in one process.

Everything that is compared runs in turns, once unmeasured and then round by round, because a machine's
speed drifts by more than what is to be told apart: one after the other, the warmer half of an hour would
decide. What is told is the median. Where no checkpoint is at hand the true shape is filled with random
weights, and the peer computes with the very same tensors, so that the error of our output is told beside
its speed. What no memory holds is measured on some of its layers and scaled by the time spent in them.
"""
