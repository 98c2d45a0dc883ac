//! The service on trial: a log of words that a primary keeps together with its backups.
//!
//! One line asks, one line answers, over any byte stream:
//!
//! | who asks | what | answer |
//! |---|---|---|
//! | a client, the primary | `append WORD` | `ok NUMBER` once the word is durable on every node; its place in the log, from 1 |
//! | a client, any node | `read` | `ok WORD…`: what is durable on this node |
//! | a backup, the primary | `follow NAME LENGTH` | `words WORD…`: what comes after the first LENGTH words, which NAME has durably; nothing if there is no more for a second |
//!
//! Nobody takes a dead primary's place: appends wait until it is back, and until every backup is. What it promises: an
//! acknowledged word stays at its place, on all nodes; a word once read is never unread.
//!
//! The code is what it would be in production. It takes a [`Host`] wherever it needs network, disk, time or tasks, and
//! that is all it knows of the world; `Host` over tokio and the operating system is `hypertile::host::real`.

use hypertile::host::{Host, Stream};
use hypertile::probe;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;

pub const PRIMARY: &str = "primary";

pub const PORT: u16 = 7000;

/// Named points in the code below, at which a scenario may strike.
pub const PROBES: &[&str] = &["log.written", "log.synced", "log.replicated"];

/// A backup asks again after so long without an answer: a primary that lost its power says nothing at all.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The primary has nothing new for so long: it says so.
const NEWS_WITHIN: Duration = Duration::from_secs(1);

const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Words in one answer to `follow`.
const WORDS_MAX: usize = 100;

/// With the planted bug, a sync comes so much later than the answer that promises it.
const LATE_BY: Duration = Duration::from_millis(50);

/// Runs a node until its host is gone. Panics if the disk cannot be read: such a node must not come up.
///
/// `bug` plants a bug, to see that the judges find it: the node tells others of words that it has written and not synced.
pub async fn serve(host: Host, backups: Vec<String>, bug: bool) {
    let log = Log::open(&host).unwrap_or_else(|error| panic!("cannot open the log: {error}"));
    let (log, followers) = (Mutex::new(log), Mutex::default());
    let node = Arc::new(Node { host, backups, bug, log, followers, news: Notify::new() });
    if node.host.name() != PRIMARY {
        node.host.spawn("follow", node.clone().follow());
    }
    let listener = node.host.net().listen("0.0.0.0", PORT).await;
    let mut listener = listener.unwrap_or_else(|error| panic!("cannot listen: {error}"));
    while let Ok((stream, _)) = listener.accept().await {
        node.host.spawn("connection", node.clone().converse(stream));
    }
}

/// One question, one answer. Errors: the stream ended before the answer did.
pub async fn ask(stream: &mut BufReader<Stream>, question: &str) -> io::Result<String> {
    stream.write_all(format!("{question}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    answer.strip_suffix('\n').map(str::to_string).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

struct Node {
    host: Host,
    backups: Vec<String>,
    bug: bool,
    log: Mutex<Log>,
    /// How many words each backup has durably, as far as it said.
    followers: Mutex<BTreeMap<String, usize>>,
    /// The log or the followers have moved. (Not a `watch`: tokio wakes those who wait for one in an order that does not
    /// come from the seed.)
    news: Notify,
}

impl Node {
    async fn converse(self: Arc<Node>, stream: Stream) {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        // A line without an end is half a question, from a client that died over it.
        while stream.read_line(&mut line).await.is_ok() && line.ends_with('\n') {
            // An answer that the node does not know must not be given: the connection ends instead.
            let Ok(answer) = self.answer(line.trim()).await else { return };
            if stream.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                return;
            }
            line.clear();
        }
    }

    /// Errors: the disk refused; nobody knows whether it will show the word after a restart.
    async fn answer(self: &Arc<Node>, line: &str) -> io::Result<String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["append", word] if self.host.name() == PRIMARY => {
                let number = self.store(vec![word.to_string()]).await?;
                self.replicated(number).await;
                probe!(self.host, "log.replicated", word);
                Ok(format!("ok {number}"))
            }
            ["read"] => Ok(format!("ok {}", self.log().words.join(" "))),
            ["follow", backup, length] => match length.parse() {
                Ok(length) => Ok(format!("words {}", self.after(backup, length).await.join(" "))),
                Err(_) => Ok("error expected: follow NAME LENGTH".to_string()),
            },
            _ => Ok("error expected: append WORD (to the primary), or read".to_string()),
        }
    }

    /// Adds words to the log; returns its length with them.
    async fn store(self: &Arc<Node>, words: Vec<String>) -> io::Result<usize> {
        let node = self.clone();
        let store = move || {
            let mut log = node.log();
            let end = log.write(&words)?;
            probe!(node.host, "log.written");
            if !node.bug {
                log.file.sync_data()?;
                probe!(node.host, "log.synced");
            }
            log.end = end;
            log.words.extend(words);
            io::Result::Ok(log.words.len())
        };
        let length = self.host.blocking(store).await?;
        self.news.notify_waiters();
        if self.bug {
            let node = self.clone();
            self.host.spawn("late sync", async move {
                node.host.sleep(LATE_BY).await;
                let _ = node.host.clone().blocking(move || node.log().file.sync_data()).await;
            });
        }
        Ok(length)
    }

    /// Waits until all backups have the first `length` words.
    async fn replicated(&self, length: usize) {
        self.until(|| {
            let followers = self.followers();
            self.backups.iter().all(|name| followers.get(name).is_some_and(|own| *own >= length))
        })
        .await;
    }

    /// What a backup that has `length` words lacks; its asking is also its acknowledgement of those.
    async fn after(&self, backup: &str, length: usize) -> Vec<String> {
        self.followers().insert(backup.to_string(), length);
        self.news.notify_waiters();
        let _ = self.host.timeout(NEWS_WITHIN, self.until(|| self.log().words.len() > length)).await;
        self.log().words.iter().skip(length).take(WORDS_MAX).cloned().collect()
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let news = self.news.notified();
            if holds() {
                return;
            }
            news.await;
        }
    }

    /// What a backup does besides answering.
    async fn follow(self: Arc<Node>) {
        loop {
            // However it ends (silence, a lost connection, a full disk): what is durable here is known, so begin anew.
            let _ = self.follow_once().await;
            self.host.sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn follow_once(self: &Arc<Node>) -> io::Result<()> {
        let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
        let connect = self.host.net().connect(PRIMARY, PORT);
        let mut stream = BufReader::new(self.host.timeout(SILENCE_MAX, connect).await.map_err(silent)??);
        loop {
            let question = format!("follow {} {}", self.host.name(), self.log().words.len());
            let answer = self.host.timeout(SILENCE_MAX, ask(&mut stream, &question)).await.map_err(silent)??;
            let words: Vec<String> = answer.split_whitespace().skip(1).map(str::to_string).collect();
            if !words.is_empty() {
                self.store(words).await?;
            }
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panics under this lock")
    }

    fn followers(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.followers.lock().expect("nobody panics under this lock")
    }
}

/// The words of one node: in memory those that are durable, and the file that they came from.
struct Log {
    file: Box<dyn StorageBackend>,
    /// Behind the last good record.
    end: u64,
    words: Vec<String>,
}

impl Log {
    fn open(host: &Host) -> io::Result<Log> {
        let file = host.disk().open("log")?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read(0, &mut bytes)?;
        let (mut words, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((word, behind)) = record(rest) {
            words.push(word);
            rest = behind;
        }
        // A power loss may have kept a later record and lost the one before it. It must not come back to life behind the
        // next append, not even if that one is lost, too: hence the sync.
        let end = (bytes.len() - rest.len()) as u64;
        file.set_len(end)?;
        file.sync_data()?;
        Ok(Log { file, end, words })
    }

    /// Returns the end of what it wrote, which becomes the log's own when it is durable: a write that failed, or whose
    /// sync did, is written over by the next.
    fn write(&self, words: &[String]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        for word in words {
            bytes.extend((word.len() as u32).to_le_bytes());
            bytes.extend(checksum(word.as_bytes()).to_le_bytes());
            bytes.extend(word.as_bytes());
        }
        self.file.write(self.end, &bytes)?;
        Ok(self.end + bytes.len() as u64)
    }
}

/// The first record, and what follows it; none at the end of what is whole.
fn record(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let (sum, bytes) = bytes.split_first_chunk::<8>()?;
    let (word, rest) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let whole = checksum(word) == u64::from_le_bytes(*sum);
    whole.then(|| String::from_utf8(word.to_vec()).ok()).flatten().map(|word| (word, rest))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
