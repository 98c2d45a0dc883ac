//! What clients say. Every count and length is checked against the message it stands in.

use crate::error::{Error, Result, codes};
use crate::limits::MESSAGE_BYTES_MAX;
use bytes::{Buf, Bytes, BytesMut};

/// Longest first packet (PostgreSQL's MAX_STARTUP_PACKET_LENGTH). Nobody has proved who they are yet.
const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest message of a type that carries no data of its own.
const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

/// A message, decoded. Names and texts are UTF-8; SQL texts stay bytes, for a bad one fails its statement only.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Query(Bytes),
    Parse {
        name: String,
        sql: Bytes,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target, String),
    Execute {
        portal: String,
        rows_max: i32,
    },
    Close(Target, String),
    Sync,
    Flush,
    Terminate,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    /// Password, SASLInitialResponse and SASLResponse share a type; the situation tells them apart.
    Authentication(Bytes),
    FunctionCall,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    pub parameter_formats: Vec<i16>,
    pub parameters: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

/// A message's type byte and body.
pub struct Frame {
    kind: u8,
    body: Bytes,
}

fn violation(message: impl Into<String>) -> Error {
    Error::new(codes::PROTOCOL_VIOLATION, message)
}

/// Takes one whole message off `input`; `None` while it is incomplete.
/// Errors: `08P01` for an unknown type or an impossible length, before any of it is waited for.
pub fn take_frame(input: &mut BytesMut) -> Result<Option<Frame>> {
    let Some(&kind) = input.first() else { return Ok(None) };
    let bytes_max = match kind {
        b'Q' | b'P' | b'B' | b'd' | b'F' => MESSAGE_BYTES_MAX,
        b'D' | b'E' | b'C' | b'S' | b'H' | b'X' | b'c' | b'f' | b'p' => SMALL_MESSAGE_BYTES_MAX,
        _ => return Err(violation(format!("invalid frontend message type {kind}"))),
    };
    let Some(length) = input.get(1..5) else { return Ok(None) };
    let length = length_of(length);
    if length < 4 {
        return Err(violation("invalid message length"));
    }
    if length > bytes_max {
        return Err(violation(format!("message of {length} bytes exceeds the limit of {bytes_max}")));
    }
    if input.len() < length + 1 {
        return Ok(None);
    }
    input.advance(5);
    Ok(Some(Frame { kind, body: input.split_to(length - 4).freeze() }))
}

/// Takes the untyped first packet off `input`, without its length. Errors: `08P01`.
pub fn take_startup_packet(input: &mut BytesMut) -> Result<Option<Bytes>> {
    let Some(length) = input.get(..4) else { return Ok(None) };
    let length = length_of(length);
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(violation("invalid length of startup packet"));
    }
    if input.len() < length {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length - 4).freeze()))
}

/// Negative lengths come out as huge ones.
fn length_of(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Errors: `08P01`.
pub fn decode(frame: Frame) -> Result<Message> {
    let mut body = Reader(frame.body);
    let message = match frame.kind {
        b'Q' => Message::Query(body.text_bytes()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text_bytes()?);
            let count = body.count()?;
            let types = (0..count).map(|_| Ok(body.take(4)?.get_u32())).collect::<Result<_>>()?;
            Message::Parse { name, sql, types }
        }
        b'B' => Message::Bind(body.bind()?),
        b'D' => Message::Describe(body.target()?, body.text()?),
        b'C' => Message::Close(body.target()?, body.text()?),
        b'E' => Message::Execute { portal: body.text()?, rows_max: body.take(4)?.get_i32() },
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'X' => Message::Terminate,
        b'd' => Message::CopyData(body.rest()),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(body.text()?),
        b'p' => Message::Authentication(body.rest()),
        b'F' => {
            body.rest();
            Message::FunctionCall
        }
        kind => return Err(violation(format!("invalid frontend message type {kind}"))),
    };
    if body.0.is_empty() { Ok(message) } else { Err(violation("invalid message format")) }
}

/// Reads a message's body, never past its end.
pub struct Reader(pub Bytes);

impl Reader {
    pub fn take(&mut self, count: usize) -> Result<Bytes> {
        if self.0.len() < count {
            Err(violation("insufficient data left in message"))
        } else {
            Ok(self.0.split_to(count))
        }
    }

    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    /// Up to a NUL, which is taken too.
    fn text_bytes(&mut self) -> Result<Bytes> {
        let end = self.0.iter().position(|b| *b == 0).ok_or_else(|| violation("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Ok(text)
    }

    pub fn text(&mut self) -> Result<String> {
        String::from_utf8(self.text_bytes()?.into()).map_err(|_| violation("invalid string in message"))
    }

    /// A count is unsigned here, as in PostgreSQL since 14.
    fn count(&mut self) -> Result<u16> {
        Ok(self.take(2)?.get_u16())
    }

    fn formats(&mut self) -> Result<Vec<i16>> {
        let count = self.count()?;
        (0..count).map(|_| Ok(self.take(2)?.get_i16())).collect()
    }

    fn bind(&mut self) -> Result<Bind> {
        let (portal, statement) = (self.text()?, self.text()?);
        let parameter_formats = self.formats()?;
        let count = self.count()?;
        let parameters = (0..count).map(|_| self.value()).collect::<Result<_>>()?;
        let result_formats = self.formats()?;
        Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
    }

    /// A value behind its length; -1 is NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>> {
        match self.take(4)?.get_i32() {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| violation("invalid value length in message"))?;
                self.take(length).map(Some)
            }
        }
    }

    fn target(&mut self) -> Result<Target> {
        match self.take(1)?[0] {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(violation(format!("invalid DESCRIBE or CLOSE message subtype {other}"))),
        }
    }
}
