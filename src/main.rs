fn main() {
    std::process::exit(hypertile::cli::main());
}
