//! `nodes`: an operator adds the spare servers and attaches them to hypertables while rows come in.

use super::Performer;
use super::options;
use crate::node::data_node_host;
use crate::sim::chance::Stream;
use crate::sim::history::Ending;
use crate::sim::scenario::stage::Done;
use crate::sim::scenario::{ClientBlock, Timed, WorkloadSpec};
use crate::trial::history::Attachment;
use std::fmt;

pub const FORMS: [&str; 2] = ["add-node NODE", "attach-node NODE TABLE"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Add { server: u16 },
    Attach { server: u16, table: String },
}

impl Operation {
    /// `None` if the verb is another workload's.
    pub fn parse(verb: &str, rest: &[&str]) -> Option<Result<Operation, String>> {
        let server = |name: &str| name.strip_prefix("node")?.parse().ok();
        Some(
            match (verb, rest) {
                ("add-node", [name]) => server(name).map(|server| Operation::Add { server }),
                ("attach-node", [name, table]) => {
                    server(name).map(|server| Operation::Attach { server, table: table.to_string() })
                }
                ("add-node" | "attach-node", _) => None,
                _ => return None,
            }
            .ok_or_else(|| format!("expected: {}, NODE as node3", FORMS.join(" or "))),
        )
    }

    pub(super) async fn perform(&self, performer: &mut Performer) -> Done {
        let sql = match self {
            Operation::Add { server } => format!(
                "SELECT add_data_node('node{server}', host => '{}', if_not_exists => true)",
                data_node_host(*server)
            ),
            Operation::Attach { server, table } => {
                format!("SELECT attach_data_node('node{server}', '{table}', if_not_attached => true)")
            }
        };
        let (ending, text) = match performer.statement(&sql).await {
            Ok(_) => (Ending::Ok, "done".to_string()),
            Err(refusal) => (refusal.ending, refusal.message),
        };
        if let Operation::Attach { server, table } = self {
            let attachment = Attachment { node: format!("node{server}"), table: table.clone(), ending };
            performer.remember(|history| history.attachments.push(attachment));
        }
        Done { ending, text }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Add { server } => write!(f, "add-node node{server}"),
            Operation::Attach { server, table } => write!(f, "attach-node node{server} {table}"),
        }
    }
}

/// The options of a `workload nodes` line: which servers are spare, and the hypertables to attach them to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub first: u16,
    pub count: u16,
    pub tables: Vec<String>,
    pub pause_ms_max: u32,
}

impl Options {
    /// Errors name the option and what was expected.
    pub fn from_spec(spec: &WorkloadSpec) -> Result<Options, String> {
        let mut options = Options { count: 1, pause_ms_max: options::PAUSE_MS, ..Options::default() };
        for (key, value) in &spec.options {
            let servers = || options::number(key, value, &(0..=64)).map(|number| number as u16);
            match key.as_str() {
                "first" => options.first = servers()?,
                "count" => options.count = servers()?,
                "pause_ms" => options.pause_ms_max = options::number(key, value, &options::PAUSES_MS)?,
                "tables" => {
                    options.tables = value.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect();
                }
                _ => return Err(format!("unknown option \"{key}\", expected: first, count, tables, pause_ms")),
            }
        }
        Ok(options)
    }

    pub fn clients(&self, chance: &mut Stream) -> Vec<ClientBlock> {
        let mut operations = Vec::new();
        for server in self.first..self.first + self.count {
            operations.push(Operation::Add { server });
            operations.extend(self.tables.iter().map(|table| Operation::Attach { server, table: table.clone() }));
        }
        let timed = |operation: Operation| Timed {
            pause: options::pause(self.pause_ms_max, chance),
            text: operation.to_string(),
        };
        let operations: Vec<Timed> = operations.into_iter().map(timed).collect();
        if operations.is_empty() {
            return vec![];
        }
        vec![ClientBlock { name: "operator".to_string(), accompanies: vec![], operations }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_adds_each_server_and_attaches_it_everywhere() {
        let options = vec![
            ("first".to_string(), "2".to_string()),
            ("count".to_string(), "1".to_string()),
            ("tables".to_string(), "a,b".to_string()),
        ];
        let spec = WorkloadSpec { name: "nodes".into(), options };
        let clients = Options::from_spec(&spec).unwrap().clients(&mut crate::sim::chance::stream(1, ""));
        let lines: Vec<&str> = clients[0].operations.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(lines, ["add-node node2", "attach-node node2 a", "attach-node node2 b"]);
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(Operation::parse(words[0], &words[1..]).unwrap().unwrap().to_string(), line);
        }
        assert!(Operation::parse("add-node", &["dn2"]).unwrap().is_err());
    }
}
