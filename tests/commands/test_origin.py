from pipeline.commands.origin import describe_layers
from pipeline.model import TakenOver


def test_a_stage_that_was_taken_over_whole_has_one_line_and_others_a_line_a_tensor() -> None:
    taken = TakenOver(
        same=("encoder.0.blocks.0.weight", "encoder.0.blocks.1.weight", "decoder.0.up.weight"),
        other_shape={"decoder.0.blocks.0.weight": ((8, 16, 3), (8, 8, 3))},
        new=("heads.0.bias",),
    )
    assert taken.total == 5
    assert describe_layers(taken) == [
        "encoder.0: taken over",
        "decoder.0.up.weight: taken over",
        "decoder.0.blocks.0.weight: new, 8 x 16 x 3 and not 8 x 8 x 3",
        "heads.0.bias: new, not in the model",
    ]


def test_a_single_number_has_a_shape_too() -> None:
    assert describe_layers(TakenOver((), {"scale": ((), (1,))}, ())) == ["scale: new, a number and not 1"]
