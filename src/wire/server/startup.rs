//! From the first byte to an open session: encryption refused, cancel requests, who it is, SCRAM-SHA-256.

use super::backends::{Backends, Registration};
use super::link::Link;
use super::message::{Message, Reader};
use super::{Failure, Stop, reply};
use crate::error::{Error, SqlState, codes};
use crate::host::Host;
use crate::limits::STARTUP_TIMEOUT;
use crate::wire::{Acceptor, Startup};
use bytes::{Buf, BufMut, Bytes};
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, gen_salted_password};
use pgwire::error::PgWireError;
use std::net::SocketAddr;
use std::sync::Arc;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_ENCRYPTION_REQUEST: u32 = 80_877_104;
const PROTOCOL_MAJOR: u32 = 3;

const SCRAM: &str = "SCRAM-SHA-256";
const SALT_BYTES: usize = 16;

const INVALID_AUTHORIZATION: SqlState = SqlState::new("28000");

/// A client that has come through.
pub struct Accepted<S> {
    pub session: S,
    pub registration: Registration,
}

/// What a first packet asks for.
enum Opening {
    Session(Startup),
    Cancel { process_id: i32, secret_key: i32 },
}

/// `None`: it was a cancel request, which is done.
pub async fn accept<A: Acceptor>(
    host: &Host,
    link: &mut Link,
    peer: SocketAddr,
    acceptor: &A,
    backends: &Arc<Backends>,
) -> Result<Option<Accepted<A::Session>>, Stop> {
    // One deadline for all that depends on the client; opening the database afterwards may take its time.
    let introduced = host.timeout(STARTUP_TIMEOUT, introduce(host, link, acceptor)).await;
    let mut startup = match introduced {
        Ok(Ok(Opening::Session(startup))) => startup,
        Ok(Ok(Opening::Cancel { process_id, secret_key })) => {
            backends.cancel_with_key(process_id, secret_key);
            return Ok(None);
        }
        Ok(Err(stop)) => return Err(stop),
        Err(_) => {
            return Err(Stop::Fatal(Error::new(INVALID_AUTHORIZATION, "canceling authentication due to timeout")));
        }
    };
    let secret_key = (host.random_u64() & 0xffff_ffff) as u32 as i32;
    let Some(registration) = backends.register(secret_key, &startup.user, &startup.database, peer) else {
        return Err(Stop::Fatal(Error::new(codes::CANNOT_CONNECT_NOW, "the database system is shutting down")));
    };
    link.listen_to(registration.signal.clone());
    startup.process_id = registration.process_id;
    match link.run(acceptor.open(startup)).await {
        Ok(Ok(session)) => Ok(Some(Accepted { session, registration })),
        Ok(Err(error)) | Err(Failure::Statement(error)) => Err(Stop::Fatal(error)),
        Err(Failure::Stop(stop)) => Err(stop),
    }
}

async fn introduce<A: Acceptor>(host: &Host, link: &mut Link, acceptor: &A) -> Result<Opening, Stop> {
    let opening = opening(link).await?;
    if let Opening::Session(startup) = &opening {
        if let Some(password) = acceptor.password(&startup.user) {
            authenticate(host, link, &startup.user, &password).await?;
        }
        reply::authentication_ok(&mut link.output);
    }
    Ok(opening)
}

/// Refuses encryption as often as it is asked for (once each for TLS and GSS), then reads the real first packet.
async fn opening(link: &mut Link) -> Result<Opening, Stop> {
    for _ in 0..3 {
        let mut packet = link.startup_packet().await?;
        match packet.get_u32() {
            SSL_REQUEST | GSS_ENCRYPTION_REQUEST => {
                link.output.put_u8(b'N');
                link.flush().await?;
            }
            CANCEL_REQUEST if packet.len() == 8 => {
                return Ok(Opening::Cancel { process_id: packet.get_i32(), secret_key: packet.get_i32() });
            }
            // A longer key than we hand out belongs to somebody else's server.
            CANCEL_REQUEST => return Err(Stop::Gone),
            version if version >> 16 == PROTOCOL_MAJOR => {
                return startup(version & 0xffff, packet, link).map(Opening::Session).map_err(Stop::Fatal);
            }
            version => {
                let message = format!(
                    "unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
                    version >> 16,
                    version & 0xffff
                );
                return Err(Stop::Fatal(Error::new(codes::FEATURE_NOT_SUPPORTED, message)));
            }
        }
    }
    Err(Stop::Fatal(Error::new(codes::PROTOCOL_VIOLATION, "encryption was refused and asked for again")))
}

/// Reads names and values. Errors: `08P01`, `28000` without a user.
fn startup(minor_version: u32, packet: Bytes, link: &mut Link) -> Result<Startup, Error> {
    let mut startup = Startup::default();
    let mut unknown_options = Vec::new();
    let mut packet = Reader(packet);
    loop {
        let name = packet.text()?;
        if name.is_empty() {
            break;
        }
        let value = packet.text()?;
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            _ if name.starts_with("_pq_.") => unknown_options.push(name),
            _ => startup.parameters.push((name, value)),
        }
    }
    if startup.user.is_empty() {
        return Err(Error::new(INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet"));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    if minor_version > 0 || !unknown_options.is_empty() {
        reply::negotiate_protocol_version(&unknown_options, &mut link.output);
    }
    Ok(startup)
}

/// Errors: `28P01` for the wrong password, `08P01` for what is not SCRAM.
async fn authenticate(host: &Host, link: &mut Link, user: &str, password: &str) -> Result<(), Stop> {
    reply::authentication_sasl(SCRAM, &mut link.output);
    link.flush().await?;
    let mut first = Reader(authentication_message(link).await?);
    let malformed = |error: Error| Stop::Fatal(error);
    let mechanism = first.text().map_err(malformed)?;
    if mechanism != SCRAM {
        return Err(protocol_violation("client selected an invalid SASL authentication mechanism"));
    }
    let data = first.value().map_err(malformed)?.unwrap_or_default();
    let mut salt = vec![0; SALT_BYTES];
    host.random_bytes(&mut salt);
    let salted_password = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
    let secret = ScramSecret::SaltedPassword { salt, salted_password };
    let (server_first, waiting) = ScramServerAuth::new()
        .on_client_first_message_with_secret(&data, secret)
        .map_err(|error| refusal(&error, user))?;
    reply::authentication_sasl_continue(&server_first, &mut link.output);
    link.flush().await?;
    let last = authentication_message(link).await?;
    let server_final = waiting.on_client_final_message(&last).map_err(|error| refusal(&error, user))?;
    reply::authentication_sasl_final(&server_final, &mut link.output);
    Ok(())
}

async fn authentication_message(link: &mut Link) -> Result<Bytes, Stop> {
    match link.next_message().await? {
        Message::Authentication(body) => Ok(body),
        Message::Terminate => Err(Stop::Gone),
        _ => Err(protocol_violation("expected SASL response")),
    }
}

fn protocol_violation(message: &str) -> Stop {
    Stop::Fatal(Error::new(codes::PROTOCOL_VIOLATION, message))
}

fn refusal(error: &PgWireError, user: &str) -> Stop {
    match error {
        PgWireError::InvalidPassword(_) => Stop::Fatal(Error::new(
            codes::INVALID_PASSWORD,
            format!("password authentication failed for user \"{user}\""),
        )),
        other => {
            Stop::Fatal(Error::new(codes::PROTOCOL_VIOLATION, "malformed SCRAM message").with_detail(other.to_string()))
        }
    }
}
