import torch

from vlm.projector import Projector


def test_pooling_averages_squares_of_the_grid() -> None:
    """Patches row by row; a 4x4 grid to 2x2 tokens, against a literal."""
    patches = torch.arange(16.0).reshape(1, 16, 1)
    assert Projector(1, 1, 4).pool(patches).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_pooling_keeps_windows_and_channels_apart() -> None:
    patches = torch.randn(3, 36, 5)
    pooled = Projector(5, 7, 9).pool(patches)
    assert pooled.shape == (3, 9, 5)
    assert torch.allclose(pooled[1, 4, 2], patches[1, [14, 15, 20, 21], 2].mean())


def test_norm_times_one_plus_weight_then_the_matrix() -> None:
    projector = Projector(2, 3, 1)
    projector.mm_input_projection_weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    projector.mm_soft_emb_norm.weight.data = torch.tensor([0.0, 1.0])
    soft = projector(torch.tensor([[[3.0, 4.0]]]))
    root = 12.5**0.5  # of the mean of 9 and 16
    expected = torch.tensor([3 / root, 8 / root])
    assert torch.allclose(soft[0, 0], torch.tensor([*expected, 2 * expected[0] + expected[1]]))


def test_keys_are_the_hubs() -> None:
    keys = {name: tuple(x.shape) for name, x in Projector(6, 4, 1).state_dict().items()}
    assert keys == {"mm_input_projection_weight": (6, 4), "mm_soft_emb_norm.weight": (6,)}
