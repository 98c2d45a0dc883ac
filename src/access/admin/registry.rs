//! Every function of the cluster by name: its schemas, its arguments with types and defaults, what it returns.
//!
//! Argument names and their order are contract: callers write `host => …`. Source: TimescaleDB 2.13's
//! `pg_proc` entries.

use super::rows::{Column, column};
use postgres_types::Type;

/// A function that changes or shows the cluster. It runs before its statement is planned, once.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    /// Schemas in which it is found when qualified. Unqualified it is always found.
    pub schemas: &'static [&'static str],
    pub arguments: &'static [Argument],
    pub result: Shape,
    pub action: Action,
}

#[derive(Debug)]
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
}

/// What an argument takes. Untyped literals fit all of them if they read well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Name,
    Text,
    /// The name of a relation, read by the rules of `regclass`.
    Regclass,
    Regproc,
    Integer,
    Boolean,
    Names,
    Interval,
    /// `"any"` and `anyelement`: the function looks at the type itself.
    Any,
}

/// The value of an argument that was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// There is none: the argument must be given.
    Required,
    Null,
    Bool(bool),
}

/// What a function returns.
#[derive(Debug)]
pub enum Shape {
    /// One value (or a set of them) of one type; prints plain.
    Scalar(Type),
    /// Rows of several columns; inside an expression each prints as a record.
    Composite(&'static [Column]),
}

/// What is done for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    AddDataNode,
    AttachDataNode,
    DeleteDataNode,
    CreateDistributedHypertable,
    CreateHypertable,
    ShowChunks,
    /// Known, arguments checked, and then `0A000`.
    NotYet,
}

impl Kind {
    /// The type of a parameter that stands for such an argument.
    pub fn parameter_type(self) -> Type {
        match self {
            Kind::Name => Type::NAME,
            Kind::Text | Kind::Any => Type::TEXT,
            // Drivers send these as text; only the server gives them another meaning.
            Kind::Regclass | Kind::Regproc => Type::TEXT,
            Kind::Integer => Type::INT4,
            Kind::Boolean => Type::BOOL,
            Kind::Names => Type::NAME_ARRAY,
            Kind::Interval => Type::INTERVAL,
        }
    }
}

impl Function {
    /// The columns of the rows it returns.
    pub fn columns(&self) -> Vec<Column> {
        match &self.result {
            Shape::Scalar(ty) => vec![column(self.name, ty.clone())],
            Shape::Composite(columns) => columns.to_vec(),
        }
    }

    pub fn is_composite(&self) -> bool {
        matches!(self.result, Shape::Composite(_))
    }
}

/// Finds a function. `schema` as written, folded; `None` when unqualified.
pub fn find(schema: Option<&str>, name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .iter()
        .find(|function| function.name == name && schema.is_none_or(|schema| function.schemas.contains(&schema)))
}

const fn required(name: &'static str, kind: Kind) -> Argument {
    Argument { name, kind, default: Default::Required }
}

const fn optional(name: &'static str, kind: Kind) -> Argument {
    Argument { name, kind, default: Default::Null }
}

const fn flag(name: &'static str, value: bool) -> Argument {
    Argument { name, kind: Kind::Boolean, default: Default::Bool(value) }
}

const PUBLIC: &[&str] = &["public"];
/// TimescaleDB keeps these in `timescaledb_experimental` only; the documents call them unqualified.
const EXPERIMENTAL: &[&str] = &["public", "timescaledb_experimental"];

const HYPERTABLE_CREATED: &[Column] = &[
    column("hypertable_id", Type::INT4),
    column("schema_name", Type::NAME),
    column("table_name", Type::NAME),
    column("created", Type::BOOL),
];

/// All of them, by name.
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "add_data_node",
        schemas: PUBLIC,
        arguments: &[
            required("node_name", Kind::Name),
            required("host", Kind::Text),
            optional("database", Kind::Name),
            optional("port", Kind::Integer),
            flag("if_not_exists", false),
            flag("bootstrap", true),
            optional("password", Kind::Text),
            // Ours: TimescaleDB always connects as the user of the session.
            optional("user", Kind::Name),
        ],
        result: Shape::Composite(&[
            column("node_name", Type::NAME),
            column("host", Type::TEXT),
            column("port", Type::INT4),
            column("database", Type::NAME),
            column("node_created", Type::BOOL),
            column("database_created", Type::BOOL),
            column("extension_created", Type::BOOL),
        ]),
        action: Action::AddDataNode,
    },
    Function {
        name: "allow_new_chunks",
        schemas: EXPERIMENTAL,
        arguments: &[required("data_node_name", Kind::Name), optional("hypertable", Kind::Regclass)],
        result: Shape::Scalar(Type::INT4),
        action: Action::NotYet,
    },
    Function {
        name: "alter_data_node",
        schemas: PUBLIC,
        arguments: &[
            required("node_name", Kind::Name),
            optional("host", Kind::Text),
            optional("database", Kind::Name),
            optional("port", Kind::Integer),
            optional("available", Kind::Boolean),
        ],
        result: Shape::Composite(&[
            column("node_name", Type::NAME),
            column("host", Type::TEXT),
            column("port", Type::INT4),
            column("database", Type::NAME),
            column("available", Type::BOOL),
        ]),
        action: Action::NotYet,
    },
    Function {
        name: "attach_data_node",
        schemas: PUBLIC,
        arguments: &[
            required("node_name", Kind::Name),
            required("hypertable", Kind::Regclass),
            flag("if_not_attached", false),
            flag("repartition", true),
        ],
        result: Shape::Composite(&[
            column("hypertable_id", Type::INT4),
            column("node_hypertable_id", Type::INT4),
            column("node_name", Type::NAME),
        ]),
        action: Action::AttachDataNode,
    },
    Function {
        name: "block_new_chunks",
        schemas: EXPERIMENTAL,
        arguments: &[
            required("data_node_name", Kind::Name),
            optional("hypertable", Kind::Regclass),
            flag("force", false),
        ],
        result: Shape::Scalar(Type::INT4),
        action: Action::NotYet,
    },
    Function {
        name: "create_distributed_hypertable",
        schemas: PUBLIC,
        arguments: &CREATE_ARGUMENTS,
        result: Shape::Composite(HYPERTABLE_CREATED),
        action: Action::CreateDistributedHypertable,
    },
    Function {
        name: "create_hypertable",
        schemas: PUBLIC,
        arguments: &CREATE_HYPERTABLE_ARGUMENTS,
        result: Shape::Composite(HYPERTABLE_CREATED),
        action: Action::CreateHypertable,
    },
    Function {
        name: "delete_data_node",
        schemas: PUBLIC,
        arguments: &[
            required("node_name", Kind::Name),
            flag("if_exists", false),
            flag("force", false),
            flag("repartition", true),
            flag("drop_database", false),
        ],
        result: Shape::Scalar(Type::BOOL),
        action: Action::DeleteDataNode,
    },
    Function {
        name: "detach_data_node",
        schemas: PUBLIC,
        arguments: &[
            required("node_name", Kind::Name),
            optional("hypertable", Kind::Regclass),
            flag("if_attached", false),
            flag("force", false),
            flag("repartition", true),
            flag("drop_remote_data", false),
        ],
        result: Shape::Scalar(Type::INT4),
        action: Action::NotYet,
    },
    Function {
        name: "drop_chunks",
        schemas: PUBLIC,
        arguments: &[
            required("relation", Kind::Regclass),
            optional("older_than", Kind::Any),
            optional("newer_than", Kind::Any),
            flag("verbose", false),
            optional("created_before", Kind::Any),
            optional("created_after", Kind::Any),
        ],
        result: Shape::Scalar(Type::TEXT),
        action: Action::NotYet,
    },
    Function {
        name: "set_chunk_time_interval",
        schemas: PUBLIC,
        arguments: &[
            required("hypertable", Kind::Regclass),
            required("chunk_time_interval", Kind::Any),
            optional("dimension_name", Kind::Name),
        ],
        result: Shape::Scalar(Type::TEXT),
        action: Action::NotYet,
    },
    Function {
        name: "set_number_partitions",
        schemas: PUBLIC,
        arguments: &[
            required("hypertable", Kind::Regclass),
            required("number_partitions", Kind::Integer),
            optional("dimension_name", Kind::Name),
        ],
        result: Shape::Scalar(Type::TEXT),
        action: Action::NotYet,
    },
    Function {
        name: "set_replication_factor",
        schemas: PUBLIC,
        arguments: &[required("hypertable", Kind::Regclass), required("replication_factor", Kind::Integer)],
        result: Shape::Scalar(Type::TEXT),
        action: Action::NotYet,
    },
    Function {
        name: "show_chunks",
        schemas: PUBLIC,
        arguments: &[
            required("relation", Kind::Regclass),
            optional("older_than", Kind::Any),
            optional("newer_than", Kind::Any),
            optional("created_before", Kind::Any),
            optional("created_after", Kind::Any),
        ],
        result: Shape::Scalar(Type::REGCLASS),
        action: Action::ShowChunks,
    },
];

const CREATE_ARGUMENTS: [Argument; 16] = [
    required("relation", Kind::Regclass),
    required("time_column_name", Kind::Name),
    optional("partitioning_column", Kind::Name),
    optional("number_partitions", Kind::Integer),
    optional("associated_schema_name", Kind::Name),
    optional("associated_table_prefix", Kind::Name),
    optional("chunk_time_interval", Kind::Any),
    flag("create_default_indexes", true),
    flag("if_not_exists", false),
    optional("partitioning_func", Kind::Regproc),
    flag("migrate_data", false),
    optional("chunk_target_size", Kind::Text),
    optional("chunk_sizing_func", Kind::Regproc),
    optional("time_partitioning_func", Kind::Regproc),
    optional("replication_factor", Kind::Integer),
    optional("data_nodes", Kind::Names),
];

const CREATE_HYPERTABLE_ARGUMENTS: [Argument; 17] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = CREATE_ARGUMENTS;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, optional("distributed", Kind::Boolean)]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_schema_and_name() {
        assert!(find(None, "add_data_node").is_some());
        assert!(find(Some("public"), "add_data_node").is_some());
        assert!(find(Some("timescaledb_experimental"), "add_data_node").is_none());
        assert!(find(Some("timescaledb_experimental"), "block_new_chunks").is_some());
        assert!(find(None, "block_new_chunks").is_some());
        assert!(find(None, "time_bucket").is_none());
    }

    #[test]
    fn required_arguments_come_first_and_names_are_unique() {
        for function in FUNCTIONS {
            let mut seen_default = false;
            for (at, argument) in function.arguments.iter().enumerate() {
                let required = argument.default == Default::Required;
                assert!(!(required && seen_default), "{}: {}", function.name, argument.name);
                seen_default |= !required;
                assert!(function.arguments[..at].iter().all(|other| other.name != argument.name));
            }
        }
        assert!(FUNCTIONS.is_sorted_by_key(|function| function.name));
    }
}
