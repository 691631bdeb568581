from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from agiqa_bench.errors import CheckpointError
from agiqa_bench.methods.clip_probe import PENALTIES, CLIPProbe

TARGETS = ("quality", "alignment")


@pytest.fixture(scope="module")
def halves(demo):
    """Training and test samples without a prompt in common."""
    samples = demo.samples()
    in_test = np.isin(samples.groups, sorted(set(samples.groups))[::4])
    return samples.subset(np.flatnonzero(~in_test)), samples.subset(np.flatnonzero(in_test)).hidden()


def features_of(method, samples):
    clip = method.clip()
    image, prompt = clip.encode_image(clip.resized(samples.images)), clip.encode_text(samples.prompts)
    parts = {"image": image, "prompt": prompt, "product": image * prompt}
    return np.concatenate([parts[part] for part in method.config.features], axis=1).astype(np.float64)


def test_ridge_is_scikit_learns_with_the_penalty_that_its_search_finds(demo, halves):
    train, test = halves
    penalties = (1.0, 100.0, 1e3, 1e6)
    method = demo.method(CLIPProbe, features=("product",), penalties=penalties).fit(train)
    found, scaler = method.predict(test), StandardScaler().fit(features_of(method, train))
    seen, new = (scaler.transform(features_of(method, each)) for each in (train, test))
    for column, mos in enumerate(train.mos.T):
        search = GridSearchCV(
            Ridge(), {"alpha": penalties}, cv=LeaveOneGroupOut(), scoring="neg_mean_squared_error"
        ).fit(seen, mos, groups=train.groups)
        # All groups of the demo are of one size, so that the mean over groups is that over images.
        assert method.history[column]["target"] == column
        assert method.history[column]["chosen"] == search.best_params_["alpha"]
        assert method.history[column]["left_out_error"] == pytest.approx(-search.best_score_ / mos.var())
        np.testing.assert_allclose(found[:, column], search.predict(new), atol=1e-6)


@pytest.mark.parametrize("row", CLIPProbe.ablations)
def test_features_side_by_side(row, demo, halves):
    train, test = halves
    method = demo.method(CLIPProbe, penalties=(100.0,), **CLIPProbe.ablations[row]).fit(train)
    scaler = StandardScaler().fit(features_of(method, train))
    ridge = Ridge(100.0).fit(scaler.transform(features_of(method, train)), train.mos)
    np.testing.assert_allclose(method.predict(test), ridge.predict(scaler.transform(features_of(method, test))))


def test_svr_is_scikit_learns_with_the_bound_that_its_search_finds(demo, halves):
    train, test = halves
    method = demo.method(CLIPProbe, ["alignment"], head="svr", features=("product",))
    method.fit(demo.samples(["alignment"]).subset(train.rows))
    mos = train.mos[:, 1]
    labels = (mos - mos.mean()) / mos.std()
    scaler = StandardScaler().fit(features_of(method, train))
    seen, new = (scaler.transform(features_of(method, each)) for each in (train, test))
    folds = GroupKFold(5).split(seen, groups=train.groups)
    search = GridSearchCV(SVR(epsilon=0.1), {"C": [0.1, 1.0, 10.0]}, cv=folds, scoring="neg_mean_squared_error")
    search.fit(seen, labels)
    assert method.history[0]["chosen"] == search.best_params_["C"]
    wanted = search.predict(new) * mos.std() + mos.mean()
    # libsvm stops at a tolerance of 0.001.
    np.testing.assert_allclose(method.predict(test)[:, 0], wanted, atol=2e-3)


def test_it_agrees_with_the_ratings_of_prompts_that_it_has_not_seen(demo, halves):
    train, test = halves
    wanted = demo.samples().subset(test.rows).mos
    scores = demo.method(CLIPProbe).fit(train).predict(test)
    assert [spearmanr(scores[:, column], wanted[:, column]).statistic > 0.6 for column in (0, 1)] == [True, True]
    assert np.abs(scores.mean(axis=0) - wanted.mean(axis=0)).max() < 0.3


@pytest.mark.parametrize("head", ["ridge", "svr"])
def test_a_restored_model_gives_the_same_scores(head, few):
    samples = few.samples()
    method = few.method(CLIPProbe, head=head).fit(samples)
    state = {name: tensor.clone() for name, tensor in method.state().items()}
    again = few.method(CLIPProbe, head=head).restore(state)
    assert np.array_equal(again.predict(samples), method.predict(samples))
    message = r"^clip_probe: the saved tensors do not fit these settings and this CLIP: "
    for other in (
        few.method(CLIPProbe, head=head, features=("image",)),
        few.method(CLIPProbe, ["quality"], head=head),
    ):
        with pytest.raises(CheckpointError, match=message):
            other.restore(state)


def test_images_are_encoded_once_for_all_repeats(few, tmp_path, monkeypatch):
    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.samples import Samples

    table = few.table
    samples = Samples(table, TARGETS, ImageCache(list(table["path"]), tmp_path))
    clip = few.method(CLIPProbe).clip()
    calls, encode = [], clip.features
    monkeypatch.setattr(clip, "features", lambda images: calls.append(len(images)) or encode(images))
    first = few.method(CLIPProbe).fit(samples.subset(range(30))).predict(samples.subset(range(30, 40)))
    assert sum(calls) == 40
    few.method(CLIPProbe, head="svr", features=("image",)).fit(samples.subset(range(10, 40)))
    again = few.method(CLIPProbe).fit(samples.subset(range(30))).predict(samples.subset(range(30, 40)))
    assert sum(calls) == 40
    assert np.array_equal(first, again)


def test_constant_ratings_are_predicted_as_they_are(few):
    samples = few.samples(["quality"], mos_quality=3.25)
    scores = few.method(CLIPProbe, ["quality"]).fit(samples).predict(samples)
    np.testing.assert_allclose(scores, 3.25, atol=1e-12)


def test_defaults():
    config = CLIPProbe.Config()
    assert (config.backbone, config.head) == ("ViT-B-32:openai", "ridge")
    assert config.features == ("image", "prompt", "product")
    assert config.penalties == PENALTIES
    np.testing.assert_allclose(PENALTIES, np.logspace(0, 6, 13))


@pytest.mark.parametrize("head", ["ridge", "svr"])
def test_of_three_targets_rated_up_to_a_hundred_each_column_is_its_targets(few, head):
    quality, alignment = (20 * few.table[f"mos_{target}"] for target in TARGETS)
    mos = {"mos_quality": quality, "mos_alignment": alignment, "mos_authenticity": 100 - quality}

    def predicted(*targets):
        context = few.context(targets, mos_ranges=dict.fromkeys(("quality", "alignment", "authenticity"), (0.0, 100.0)))
        samples, config = few.samples(targets, **mos), few.method(CLIPProbe, head=head).config
        return CLIPProbe(config, context).fit(samples.subset(np.arange(30))).predict(samples.hidden())

    targets = ("authenticity", "quality", "alignment")
    found = predicted(*targets)
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found, np.hstack([predicted(target) for target in targets]), atol=1e-8)
    for column, target in enumerate(targets):
        assert spearmanr(found[:30, column], mos[f"mos_{target}"][:30]).statistic > 0.8
        assert abs(found[:30, column].mean() - mos[f"mos_{target}"][:30].mean()) < 3
