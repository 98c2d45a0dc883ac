//! Functions and views of the cluster: `add_data_node`, `create_distributed_hypertable`, `timescaledb_information.*`.
