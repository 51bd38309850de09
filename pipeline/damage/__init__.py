"""Ways in which a good scan can go wrong, to measure whether what watches over scans and masks notices.

`kinds` has the table of them and how one is applied. Strengths go from just above 0 to 1, and what these ends mean is
said by each. All channels are damaged alike, but for noise, and by numbers that follow from the generator that is
handed over.
"""
