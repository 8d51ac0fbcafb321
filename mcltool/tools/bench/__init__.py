"""How fast this machine runs a model, part by part, against what the machine could do (``mcltool bench``)."""
