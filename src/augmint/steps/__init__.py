"""What the verbs share: the layers below, put together for one part of the job each."""
