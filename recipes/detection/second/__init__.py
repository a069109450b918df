"""The second stage: a network that looks again at each candidate, against false positives.

After Dou et al., IEEE TMI 2016 (doi:10.1109/TMI.2016.2528129): a sensitive first stage, a second
network trained on lesions and on the first one's false positives.
"""
