//! One client's statements: local ones go to the plain session, those that touch hypertables are spread.
