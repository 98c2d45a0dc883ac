//! What goes over the wire, byte by byte: a client of raw messages against a toy front end.

mod extended;
mod malformed;
mod simple;

use crate::host::Host;
use crate::wire::test_host;
use crate::wire::toy::Toy;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A client that says exactly what a test tells it to.
struct Raw {
    host: Host,
    toy: Arc<Toy>,
    stream: DuplexStream,
    input: BytesMut,
}

fn message(kind: u8, write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    super::reply::message(kind, &mut out, write);
    out.to_vec()
}

fn text(value: &str, out: &mut BytesMut) {
    out.put_slice(value.as_bytes());
    out.put_u8(0);
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', |out| text(sql, out))
}

fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    message(b'P', |out| {
        text(name, out);
        text(sql, out);
        out.put_u16(types.len() as u16);
        types.iter().for_each(|ty| out.put_u32(*ty));
    })
}

fn bind(portal: &str, statement: &str, parameters: &[Option<&str>], result_formats: &[i16]) -> Vec<u8> {
    message(b'B', |out| {
        text(portal, out);
        text(statement, out);
        out.put_u16(0);
        out.put_u16(parameters.len() as u16);
        for parameter in parameters {
            match parameter {
                Some(value) => {
                    out.put_i32(value.len() as i32);
                    out.put_slice(value.as_bytes());
                }
                None => out.put_i32(-1),
            }
        }
        out.put_u16(result_formats.len() as u16);
        result_formats.iter().for_each(|format| out.put_i16(*format));
    })
}

fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    message(b'E', |out| {
        text(portal, out);
        out.put_i32(rows_max);
    })
}

fn describe(target: u8, name: &str) -> Vec<u8> {
    message(b'D', |out| {
        out.put_u8(target);
        text(name, out);
    })
}

fn close(target: u8, name: &str) -> Vec<u8> {
    message(b'C', |out| {
        out.put_u8(target);
        text(name, out);
    })
}

fn sync() -> Vec<u8> {
    message(b'S', |_| {})
}

fn startup(parameters: &[(&str, &str)], version: u32) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u32(version);
    for (name, value) in parameters {
        text(name, &mut body);
        text(value, &mut body);
    }
    body.put_u8(0);
    let mut packet = BytesMut::new();
    packet.put_u32(body.len() as u32 + 4);
    packet.put_slice(&body);
    packet.to_vec()
}

const VERSION_3_0: u32 = 196_608;

impl Raw {
    /// A stream on which nothing has been said. Deadlines come `haste` times as fast.
    fn silent(haste: u32) -> Raw {
        let host = test_host::host(haste);
        let toy = Arc::new(Toy::default());
        let (client, server) = tokio::io::duplex(4096);
        toy.serve(&host, Box::new(server));
        Raw { host, toy, stream: client, input: BytesMut::new() }
    }

    /// Past the start-up.
    async fn connected() -> Raw {
        let mut raw = Raw::silent(1);
        raw.send(&startup(&[("user", "alice"), ("database", "db")], VERSION_3_0)).await;
        raw.until(b'Z').await;
        raw.toy.log.take();
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already; what it said is read all the same.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next message, shown; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u8, String)> {
        loop {
            if self.input.len() >= 5 {
                let length = (&self.input[1..5]).get_u32() as usize;
                if self.input.len() > length {
                    let kind = self.input[0];
                    self.input.advance(5);
                    let body = self.input.split_to(length - 4).freeze();
                    return Some((kind, show(kind, body)));
                }
            }
            let read = self.stream.read_buf(&mut self.input);
            let host = test_host::host(1);
            let count = host.timeout(Duration::from_secs(10), read).await.expect("an answer within ten seconds");
            if count.unwrap_or(0) == 0 {
                assert!(self.input.is_empty(), "half a message: {:?}", self.input);
                return None;
            }
        }
    }

    /// All messages up to the first of that kind.
    async fn until(&mut self, last: u8) -> Vec<String> {
        let mut shown = Vec::new();
        loop {
            let (kind, text) = self.next().await.unwrap_or_else(|| panic!("closed after {shown:?}"));
            shown.push(text);
            if kind == last {
                return shown;
            }
        }
    }

    /// Sends and returns the answer up to ReadyForQuery.
    async fn ask(&mut self, bytes: &[u8]) -> Vec<String> {
        self.send(bytes).await;
        self.until(b'Z').await
    }

    /// All messages up to the end of the stream.
    async fn rest_of_stream(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some((_, text)) = self.next().await {
            shown.push(text);
        }
        shown
    }
}

/// A backend message in a form that tests compare: its type and what matters of its body.
fn show(kind: u8, body: Bytes) -> String {
    let mut body = super::message::Reader(body);
    let letter = char::from(kind);
    match kind {
        b'D' => {
            let count = body.take(2).unwrap().get_u16();
            let values: Vec<String> = (0..count)
                .map(|_| match body.value().unwrap() {
                    Some(value) => String::from_utf8_lossy(&value).escape_default().to_string(),
                    None => "NULL".into(),
                })
                .collect();
            format!("D {}", values.join("|"))
        }
        b'T' => {
            let count = body.take(2).unwrap().get_u16();
            let columns: Vec<String> = (0..count)
                .map(|_| {
                    let name = body.text().unwrap();
                    let mut rest = body.take(18).unwrap();
                    rest.advance(6);
                    let oid = rest.get_u32();
                    rest.advance(6);
                    format!("{name}:{oid}:{}", rest.get_u16())
                })
                .collect();
            format!("T {}", columns.join("|"))
        }
        b'E' | b'N' => {
            let mut fields = Vec::new();
            loop {
                let field = body.take(1).unwrap()[0];
                if field == 0 {
                    break;
                }
                let value = body.text().unwrap();
                if field != b'V' {
                    fields.push(format!("{}={value}", char::from(field)));
                }
            }
            format!("{letter} {}", fields.join(" "))
        }
        b'C' => format!("C {}", body.text().unwrap()),
        b'Z' => format!("Z {}", char::from(body.rest()[0])),
        b'S' => format!("S {}={}", body.text().unwrap(), body.text().unwrap()),
        b'd' => format!("d {}", String::from_utf8_lossy(&body.rest()).escape_default()),
        b't' => {
            let count = body.take(2).unwrap().get_u16();
            let types: Vec<String> = (0..count).map(|_| body.take(4).unwrap().get_u32().to_string()).collect();
            format!("t {}", types.join("|"))
        }
        _ => letter.to_string(),
    }
}
