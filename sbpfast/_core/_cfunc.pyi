import numpy as np

def capsule_addresses(capsule: object) -> tuple[int, int, str | None]: ...
def call_scalar(function: int, user_data: int, x: np.ndarray, out: np.ndarray, n_threads: int) -> None: ...
def call_array(function: int, user_data: int, x: np.ndarray, out: np.ndarray, n_threads: int) -> None: ...
def call_pair(
    convention: str,
    function: int,
    user_data: int,
    x: np.ndarray,
    value: np.ndarray,
    grad: np.ndarray,
    n_threads: int,
) -> None: ...
