"""Evaluation: how accurate artifacts are, and what they lost against what they were made from.

::

    lineup     subjects and what each is compared with     data, labels    the images, and which output each label means
       └────────────┬──────────────────────────────────────────┘
                 running    image by image, all subjects: scores, which the journal keeps as they come in
                    │
                 summary    bootstrap over images, and what counts alone tell
                    │
            accuracy, results    what is kept of it, and its file

`job` is the one place that sees them all.
"""
