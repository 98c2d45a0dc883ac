#![expect(clippy::disallowed_methods, reason = "the tests look behind the host, at the real folder")]

use super::*;
use redb::{Builder, ReadableDatabase, TableDefinition};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A folder of its own for one test, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hypertile-host-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TABLE: TableDefinition<&str, u64> = TableDefinition::new("counters");

fn database(host: &Host) -> redb::Database {
    let file = crate::host::StoreFile::new(host.disk().open("db/store.redb").unwrap());
    Builder::new().create_with_backend(file).unwrap()
}

#[test]
fn a_second_host_on_the_same_folder_is_refused_by_name() {
    let folder = Folder::new();
    let first = real("an", &folder.0).unwrap();
    let error = real("an", &folder.0).err().expect("the folder is taken");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    let message = error.to_string();
    assert!(message.contains(&folder.0.display().to_string()), "{message}");
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(first);
    real("an", &folder.0).expect("free again once the first is gone");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("file"), b"").unwrap();
    let error = real("an", &folder.0.join("file/data")).err().unwrap();
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn a_store_keeps_its_rows_across_hosts() {
    let folder = Folder::new();
    {
        let host = real("dn1", &folder.0).unwrap();
        let database = database(&host);
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert("rows", 42).unwrap();
        write.commit().unwrap();
    }
    let host = real("dn1", &folder.0).unwrap();
    let database = database(&host);
    let read = database.begin_read().unwrap();
    assert_eq!(read.open_table(TABLE).unwrap().get("rows").unwrap().unwrap().value(), 42);
}

#[test]
fn small_files_are_replaced_whole_and_listed_sorted() {
    let folder = Folder::new();
    let host = real("an", &folder.0).unwrap();
    let disk = host.disk();
    assert_eq!(disk.read("databases/b.toml").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(disk.list("databases").unwrap().is_empty());
    disk.write("databases/b.toml", b"first").unwrap();
    disk.write("databases/b.toml", b"second").unwrap();
    disk.write("databases/a.toml", b"").unwrap();
    // What a crash between writing and renaming leaves behind.
    fs::write(folder.0.join("databases/c.toml.writing"), b"half").unwrap();
    assert_eq!(disk.read("databases/b.toml").unwrap(), b"second");
    assert_eq!(disk.list("databases").unwrap(), ["a.toml", "b.toml"]);
    assert_eq!(disk.list("").unwrap(), ["databases"]);
    disk.create_dir("databases/deep/er").unwrap();
    assert_eq!(disk.list("databases/deep").unwrap(), ["er"]);
    disk.remove("databases").unwrap();
    disk.remove("databases").unwrap();
    assert_eq!(disk.read("databases/b.toml").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_path_that_leaves_the_folder_is_refused() {
    let folder = Folder::new();
    let host = real("an", &folder.0).unwrap();
    for path in ["../x", "/etc/passwd", "a/../../x"] {
        assert_eq!(host.disk().read(path).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        assert_eq!(host.disk().write(path, b"").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapped_name_is_dialled_at_its_port_and_bytes_echo() {
    let (server_folder, client_folder) = (Folder::new(), Folder::new());
    let server = real("dn3", &server_folder.0).unwrap();
    let mut listener = server.net().listen("127.0.0.1", 0).await.unwrap();
    let port = listener.local_address().port();
    server.spawn("echo", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    });

    let hosts = HostTable::from([("dn3.example.com".to_string(), ("127.0.0.1".to_string(), port))]);
    let client = real_in("an", &client_folder.0, Surroundings { hosts, ..Surroundings::default() }).unwrap();
    let mut stream = client.net().connect("dn3.example.com", 5432).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"hello");
    // The listener went with the server's task: the name still maps, nobody answers.
    let refused = client.net().connect("dn3.example.com", 5432).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn both_ends_of_a_connection_are_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (dialled, accepted) = futures::join!(dial("127.0.0.1", port), accept(&listener));
    for stream in [dialled.unwrap(), accepted.unwrap().0] {
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_clocks_and_chance_are_those_of_the_machine() {
    let folder = Folder::new();
    let host = real("an", &folder.0).unwrap();
    let before = host.monotonic();
    host.sleep(Duration::from_millis(20)).await;
    assert!(host.monotonic() - before >= Duration::from_millis(20));
    // 2024-01-01; the machine's clock is later than that, also under the simulator's interposed libc.
    assert!(host.utc_micros() > 1_704_067_200_000_000);
    assert_ne!(host.random_u64(), host.random_u64());
    assert_eq!(host.blocking(|| 6 * 7).await, 42);
    let slow = host.timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
    assert!(slow.is_err());

    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let task = host.spawn("waits for ever", async move {
        std::future::pending::<()>().await;
        drop(sender);
    });
    task.abort();
    receiver.await.expect_err("the aborted task dropped its sender");
}

#[test]
fn a_clock_file_moves_the_clock_and_never_the_monotonic_one() {
    let folder = Folder::new();
    let file = std::env::temp_dir().join(format!("hypertile-clock-{}", std::process::id()));
    let surroundings = Surroundings { clock_file: Some(file.clone()), ..Surroundings::default() };
    let host = real_in("an", &folder.0, surroundings).unwrap();
    let true_micros = || RealClock { start: Instant::now(), file: None }.utc_micros();
    let ahead = |host: &Host| (host.utc_micros() - true_micros()) / 1_000_000;
    assert_eq!(ahead(&host), 0);
    let before = host.monotonic();
    let line = ClockLine { changed_at_micros: 0, shown_then_micros: 7_200_500_000, drift_ppm: 0 };
    fs::write(&file, line.to_string()).unwrap();
    assert_eq!(ahead(&host), 7_200);
    fs::write(&file, "half past nine").unwrap();
    assert_eq!(ahead(&host), 0, "what cannot be read changes nothing");
    assert!(host.monotonic() - before < Duration::from_secs(60));
    fs::remove_file(&file).unwrap();
}
