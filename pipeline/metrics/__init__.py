"""Numbers that say how well a mask agrees with its reference: overlap, surface distances in mm, intervals."""
