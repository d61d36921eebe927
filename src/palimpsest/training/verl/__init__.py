"""Training on many GPUs: our agents, credit and recipes in verl's trainer, by registration alone.

verl runs the servers that sample, the sharded model that learns, and the cluster; what is ours is
registered with it under the name `palimpsest`:

    loop        rolls an agent out against verl's servers, a row for each conversation
    trainer     shares out credit by the functions of `training.credit`, and updates
    manager     the processes that roll out; one that dies costs its rollouts, not the step
    rows        the questions, as verl's dataset

Importing this package imports no verl; `version.check_version` says whether one is there that fits.
"""
