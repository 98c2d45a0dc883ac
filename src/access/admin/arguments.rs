//! From the arguments as written to the arguments as a function takes them.

use super::registry::{Argument, Default, Function, Kind};
use crate::error::{Error, Result, codes};
use crate::sql::type_names;
use datafusion::scalar::ScalarValue;
use postgres_types::Type;

/// An argument's value before the function says what it takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Null,
    /// A string literal: it takes the type that its place asks for.
    Untyped(String),
    Typed(Type, ScalarValue),
}

/// An evaluated argument and the name it was given under (`host => …`).
#[derive(Clone, Debug)]
pub struct Passed {
    pub name: Option<String>,
    pub value: Constant,
}

/// An argument's value in the form its [`Kind`] calls for. NULL, and what was not given, is `Null`.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i32),
    Text(String),
    Names(Vec<String>),
    Any(Constant),
}

/// All arguments of one call, by name.
#[derive(Debug)]
pub struct Arguments {
    function: &'static Function,
    values: Vec<Value>,
}

/// Sorts arguments into the function's places. `spelling` is the function's name as the caller wrote it.
/// Errors: `42883` when names, number or types do not fit; `42601` for a positional argument after a named one or a
/// name given twice; `22P02` for a literal that does not read as its type.
pub fn bind(function: &'static Function, spelling: &str, passed: &[Passed]) -> Result<Arguments> {
    let no_such = || no_such_function(spelling, passed);
    let mut places: Vec<Option<&Constant>> = vec![None; function.arguments.len()];
    let mut named = false;
    for (at, argument) in passed.iter().enumerate() {
        let place = match &argument.name {
            None if named => {
                return Err(Error::new(codes::SYNTAX_ERROR, "positional argument cannot follow named argument"));
            }
            None => at,
            Some(name) => {
                named = true;
                function.arguments.iter().position(|known| known.name == name).ok_or_else(no_such)?
            }
        };
        let slot = places.get_mut(place).ok_or_else(no_such)?;
        if slot.is_some() {
            // PostgreSQL looks for another overload when a name hits a place already taken by position.
            return Err(match passed[..at].iter().any(|earlier| earlier.name == argument.name) {
                true => {
                    let name = argument.name.as_deref().unwrap_or_default();
                    Error::new(codes::SYNTAX_ERROR, format!("argument name \"{name}\" used more than once"))
                }
                false => no_such(),
            });
        }
        *slot = Some(&argument.value);
    }
    let value_of = |(argument, constant): (&Argument, &Option<&Constant>)| match (constant, argument.default) {
        (Some(constant), _) => coerce(argument.kind, constant)?.ok_or_else(no_such),
        (None, Default::Required) => Err(no_such()),
        (None, Default::Null) => Ok(Value::Null),
        (None, Default::Bool(value)) => Ok(Value::Bool(value)),
    };
    let values = function.arguments.iter().zip(&places).map(value_of).collect::<Result<_>>()?;
    Ok(Arguments { function, values })
}

/// `None`: this type does not fit there.
fn coerce(kind: Kind, constant: &Constant) -> Result<Option<Value>> {
    Ok(match constant {
        _ if kind == Kind::Any => Some(match constant {
            Constant::Null => Value::Null,
            other => Value::Any(other.clone()),
        }),
        Constant::Null => Some(Value::Null),
        Constant::Untyped(text) => Some(read(kind, text)?),
        Constant::Typed(_, value) if value.is_null() => Some(Value::Null),
        Constant::Typed(ty, value) => fit(kind, ty, value),
    })
}

fn read(kind: Kind, text: &str) -> Result<Value> {
    let malformed =
        |ty: &str| Error::new(codes::INVALID_TEXT, format!("invalid input syntax for type {ty}: \"{text}\""));
    Ok(match kind {
        Kind::Name | Kind::Text | Kind::Regclass | Kind::Regproc => Value::Text(text.to_string()),
        Kind::Integer => Value::Int(text.trim().parse().map_err(|_| malformed("integer"))?),
        Kind::Boolean => Value::Bool(boolean(text).ok_or_else(|| malformed("boolean"))?),
        Kind::Names => Value::Names(array_elements(text)?),
        Kind::Interval | Kind::Any => Value::Any(Constant::Untyped(text.to_string())),
    })
}

fn fit(kind: Kind, ty: &Type, value: &ScalarValue) -> Option<Value> {
    match kind {
        Kind::Name | Kind::Text | Kind::Regclass | Kind::Regproc => text_of(value).map(Value::Text),
        Kind::Integer => match value {
            ScalarValue::Int16(Some(number)) => Some(Value::Int(i32::from(*number))),
            ScalarValue::Int32(Some(number)) => Some(Value::Int(*number)),
            // Arithmetic on constants comes out as bigint here and as integer in PostgreSQL.
            ScalarValue::Int64(Some(number)) => i32::try_from(*number).ok().map(Value::Int),
            _ => None,
        },
        Kind::Boolean => match value {
            ScalarValue::Boolean(Some(value)) => Some(Value::Bool(*value)),
            _ => None,
        },
        Kind::Names => names_of(value).map(Value::Names),
        Kind::Interval => (*ty == Type::INTERVAL).then(|| Value::Any(Constant::Typed(ty.clone(), value.clone()))),
        Kind::Any => Some(Value::Any(Constant::Typed(ty.clone(), value.clone()))),
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => text.clone(),
        _ => None,
    }
}

fn names_of(value: &ScalarValue) -> Option<Vec<String>> {
    let ScalarValue::List(list) = value else { return None };
    let elements = list.values();
    (0..elements.len()).map(|at| text_of(&ScalarValue::try_from_array(elements, at).ok()?)).collect()
}

/// PostgreSQL documentation, "Boolean Type": unique prefixes, any case.
fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let prefix_of = |word: &str| !text.is_empty() && word.starts_with(&text);
    if prefix_of("true") || prefix_of("yes") || text == "on" || text == "1" {
        Some(true)
    } else if prefix_of("false") || prefix_of("no") || text == "off" || text == "of" || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// The elements of a one-dimensional array literal of names. Errors: `22P02`.
pub fn array_elements(literal: &str) -> Result<Vec<String>> {
    let malformed = || Error::new(codes::INVALID_TEXT, format!("malformed array literal: \"{literal}\""));
    let inside = literal.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?;
    if inside.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut elements = Vec::new();
    let mut rest = inside.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let mut element = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next().ok_or_else(malformed)? {
                    '"' => break,
                    '\\' => element.push(rest.next().ok_or_else(malformed)?),
                    c => element.push(c),
                }
            }
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
        } else {
            while let Some(c) = rest.next_if(|c| *c != ',') {
                match c {
                    '{' | '}' | '"' => return Err(malformed()),
                    '\\' => element.push(rest.next().ok_or_else(malformed)?),
                    c => element.push(c),
                }
            }
            element.truncate(element.trim_end().len());
            if element.is_empty() {
                return Err(malformed());
            }
        }
        elements.push(element);
        match rest.next() {
            None => return Ok(elements),
            Some(',') => {}
            Some(_) => return Err(malformed()),
        }
    }
}

/// `function f(unknown, host => integer) does not exist`.
fn no_such_function(spelling: &str, passed: &[Passed]) -> Error {
    let shown = |argument: &Passed| {
        let ty = match &argument.value {
            Constant::Null | Constant::Untyped(_) => "unknown".to_string(),
            Constant::Typed(ty, _) => type_names::display(ty),
        };
        match &argument.name {
            Some(name) => format!("{name} => {ty}"),
            None => ty,
        }
    };
    let types = passed.iter().map(shown).collect::<Vec<_>>().join(", ");
    Error::new(codes::UNDEFINED_FUNCTION, format!("function {spelling}({types}) does not exist"))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

impl Arguments {
    pub fn function(&self) -> &'static Function {
        self.function
    }

    fn get(&self, name: &str) -> &Value {
        let place = self.function.arguments.iter().position(|argument| argument.name == name);
        &self.values[place.expect("functions ask for arguments of their own registry entry")]
    }

    /// A name or text; `None` is NULL.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self, name: &str) -> Option<i32> {
        match self.get(name) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A switch; NULL counts as off.
    pub fn flag(&self, name: &str) -> bool {
        self.boolean(name).unwrap_or(false)
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn names(&self, name: &str) -> Option<&[String]> {
        match self.get(name) {
            Value::Names(names) => Some(names),
            _ => None,
        }
    }

    /// An argument of any type; `None` is NULL.
    pub fn any(&self, name: &str) -> Option<&Constant> {
        match self.get(name) {
            Value::Any(constant) => Some(constant),
            _ => None,
        }
    }

    /// Whether NULL was given, or nothing where NULL is the default.
    pub fn is_null(&self, name: &str) -> bool {
        *self.get(name) == Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry;
    use super::*;

    fn passed(arguments: &[(&str, Constant)]) -> Vec<Passed> {
        let one = |(name, value): &(&str, Constant)| Passed {
            name: (!name.is_empty()).then(|| name.to_string()),
            value: value.clone(),
        };
        arguments.iter().map(one).collect()
    }

    fn bound(function: &str, arguments: &[(&str, Constant)]) -> Result<Arguments> {
        bind(registry::find(None, function).unwrap(), function, &passed(arguments))
    }

    fn literal(text: &str) -> Constant {
        Constant::Untyped(text.into())
    }

    fn int(number: i32) -> Constant {
        Constant::Typed(Type::INT4, ScalarValue::Int32(Some(number)))
    }

    #[test]
    fn positions_names_and_defaults_meet() {
        let arguments =
            bound("add_data_node", &[("", literal("dn1")), ("port", int(5433)), ("host", literal("h"))]).unwrap();
        assert_eq!(arguments.text("node_name"), Some("dn1"));
        assert_eq!(arguments.text("host"), Some("h"));
        assert_eq!(arguments.integer("port"), Some(5433));
        assert!(arguments.flag("bootstrap") && !arguments.flag("if_not_exists"));
        assert!(arguments.is_null("database"));
    }

    #[test]
    fn literals_take_the_type_of_their_place() {
        let arguments = bound(
            "add_data_node",
            &[("", literal("dn1")), ("", literal("h")), ("port", literal(" 5433 ")), ("bootstrap", literal("off"))],
        )
        .unwrap();
        assert_eq!(arguments.integer("port"), Some(5433));
        assert_eq!(arguments.boolean("bootstrap"), Some(false));
        let error =
            bound("add_data_node", &[("", literal("n")), ("", literal("h")), ("port", literal("x"))]).unwrap_err();
        assert_eq!(error.message(), "invalid input syntax for type integer: \"x\"");
    }

    #[test]
    fn what_does_not_fit_is_a_function_that_does_not_exist() {
        let message = |arguments: &[(&str, Constant)]| {
            let error = bound("attach_data_node", arguments).unwrap_err();
            assert_eq!(error.code(), codes::UNDEFINED_FUNCTION);
            assert!(error.hint().is_some());
            error.message().to_string()
        };
        assert_eq!(message(&[]), "function attach_data_node() does not exist");
        assert_eq!(
            message(&[("", literal("a")), ("", int(1))]),
            "function attach_data_node(unknown, integer) does not exist"
        );
        assert_eq!(
            message(&[("", literal("a")), ("table", literal("t"))]),
            "function attach_data_node(unknown, table => unknown) does not exist"
        );
        message(&[("", literal("a")), ("node_name", literal("t"))]);
        message(&[("", literal("a")), ("", literal("a")), ("", Constant::Null), ("", Constant::Null), ("", int(1))]);
    }

    #[test]
    fn positions_after_names_and_doubled_names_are_syntax_errors() {
        let error = bound("attach_data_node", &[("node_name", literal("a")), ("", literal("t"))]).unwrap_err();
        assert_eq!(error.code(), codes::SYNTAX_ERROR);
        let error = bound("attach_data_node", &[("node_name", literal("a")), ("node_name", literal("t"))]).unwrap_err();
        assert_eq!(error.message(), "argument name \"node_name\" used more than once");
    }

    #[test]
    fn array_literals_read_as_in_postgres() {
        let ok = |text: &str| array_elements(text).unwrap();
        assert_eq!(ok("{}"), Vec::<String>::new());
        assert_eq!(ok("{dn1,dn2}"), ["dn1", "dn2"]);
        assert_eq!(ok(" { dn1 , \"a,b\" , \"q\\\"q\" } "), ["dn1", "a,b", "q\"q"]);
        for bad in ["dn1", "{dn1", "{a,}", "{,}", "{\"a}", "{{a}}", "{\"a\"b}"] {
            assert_eq!(array_elements(bad).unwrap_err().code(), codes::INVALID_TEXT, "{bad}");
        }
    }

    #[test]
    fn names_come_from_literals_and_from_arrays() {
        let create = |nodes: Constant| {
            bound("create_distributed_hypertable", &[("", literal("t")), ("", literal("time")), ("data_nodes", nodes)])
        };
        assert_eq!(create(literal("{a,b}")).unwrap().names("data_nodes").unwrap(), ["a", "b"]);
        let list =
            ScalarValue::new_list_nullable(&[ScalarValue::Utf8(Some("c".into()))], &arrow::datatypes::DataType::Utf8);
        let typed = Constant::Typed(Type::TEXT_ARRAY, ScalarValue::List(list));
        assert_eq!(create(typed).unwrap().names("data_nodes").unwrap(), ["c"]);
        assert!(create(Constant::Null).unwrap().names("data_nodes").is_none());
    }
}
