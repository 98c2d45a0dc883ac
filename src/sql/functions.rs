//! Scalar and aggregate functions beyond DataFusion's own, each meaning what it means in PostgreSQL or TimescaleDB.
