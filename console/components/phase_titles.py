"""The phases of a replica's start as pages name them. Pure."""

from deployments.states import ReplicaState

PHASE_TITLES = {
    ReplicaState.REQUESTING_GPU: "Requesting GPU",
    ReplicaState.DOWNLOADING_MODEL: "Downloading model",
    ReplicaState.ENGINE_INITIALIZING: "Engine initializing",
}
