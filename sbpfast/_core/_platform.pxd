"""What the other modules take from here when they are imported: the threads that they share."""

cdef extern from "team.h" nogil:
    ctypedef struct team_calls:
        pass

cdef const team_calls *team_of_the_package() noexcept
