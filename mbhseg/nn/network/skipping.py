"""The model that `fit` trains; it can enter an epoch where an earlier process stopped."""

from typing import Any

import keras


class ResumableModel(keras.Model):
    """The model to train in place of `inner`, on its layers; `inner` stays uncompiled.

    It skips its next `skipped` training steps, which an earlier process did. So `fit` counts the
    steps of a resumed epoch from the first, and no callback has to know of the resume.
    """

    train_function: Any

    def __init__(self, inner: keras.Model, name: str) -> None:
        super().__init__(name=name)
        self._inner = inner
        self.built = True
        self.skipped = 0

    def call(self, images: Any, training: bool = False) -> Any:
        """What `inner` gives."""
        return self._inner(images, training=training)

    def make_variables(self, images: Any, targets: Any) -> None:
        """Make the optimizer's and the metrics' variables, which Keras leaves to the first step.

        images, targets: any batch of the training.
        """
        outputs = self(images, training=False)
        self.optimizer.build(self.trainable_variables)
        self.compute_loss(images, targets, outputs)
        self.compute_metrics(images, targets, outputs)
        self.reset_metrics()

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' train function, after the steps that are skipped."""
        if self.train_function is not None and not force:
            return self.train_function
        super().make_train_function(force=True)
        train = self.train_function

        def step(iterator: Any) -> Any:
            if self.skipped:
                self.skipped -= 1
                # Keras names the epoch's logs by those of the last step
                return {} if self.skipped else self.get_metrics_result()
            return train(iterator)

        self.train_function = step
        return step
