"""Something that was missing is put back: the old Pod is no evidence against the deploy that follows."""

from situations.making import mended
from truth import Judged, situation


def repair(way):
    """What was missing is put back, and the deploy changes nothing of the Pod: its node looks again after a while."""

    def function(stack):
        stack.way = way
        assert stack.deploy().code != 0, "the first version has to fail"
        return Judged(stack, mended(stack), True).judge()

    function.__name__ = f"what_was_missing_is_put_back_after_{way.replace('-', '_')}"
    return function


for way in ("config", "image-pull", "crash-loop"):
    situation()(repair(way))
