//! Options, each with its reason. Memory of the store is bounded by [`WRITE_BUFFERS`] and [`BLOCK_CACHE`] together, however
//! many logs and entries there are.

use ledger::kv::Space;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType, DBRecoveryMode, LogLevel,
    LruCacheOptions, Options, ReadOptions, WriteOptions,
};

/// Bytes in memory of all spaces not yet in tables. At seven eighths of it the buffer that was begun first is written out, however
/// little it holds. That should not be the index's, which fills slowest and alone pays for small tables: so the buffers of what
/// ascends, half full on average, leave it room.
const WRITE_BUFFERS: usize = 80 << 20;

/// Bytes of entries, and of payloads, in memory.
const ASCENDING_BUFFER: usize = 20 << 20;

/// Bytes of the index in memory: some 300,000 events.
const INDEX_BUFFER: usize = 32 << 20;

/// Tables of the index at which some are merged. More of them: fewer merges, and one filter more to ask in a look-up.
const INDEX_TABLES: i32 = 10;

/// Bytes of blocks, indices and filters kept in memory. Filters take 1.25 bytes a row of the index: 12 MB for 10 million.
const BLOCK_CACHE: usize = 48 << 20;

/// Bytes of write-ahead log before the spaces that hold the oldest of it are written out: bounds the replay at start.
const WRITE_AHEAD_LOG: u64 = 256 << 20;

/// Options of the whole database.
pub(crate) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A record cut off at the end is a write that never returned; a damaged one before the end was confirmed. The default
    // (point in time) would drop it and everything after in silence, and we would sign another history. So: refuse to open.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WRITE_AHEAD_LOG);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    // Two cores: one flush and one compaction beside the appender.
    options.set_max_background_jobs(2);
    // Written out in small steps, so that a flush does not make the log's fsync wait for a whole table.
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(512);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_log_level(LogLevel::Warn);
    options
}

/// Options to read a store that nobody writes to.
pub(crate) fn reading() -> Options {
    let mut options = database();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    options
}

/// Options to read a store beside its writer.
pub(crate) fn beside_a_writer() -> Options {
    let mut options = reading();
    // All tables are opened at once: the writer may delete any of them later, and an open file stays readable.
    options.set_max_open_files(-1);
    options
}

/// Rows asked for at once from which on a read of a store opened for reading is taken for a scan.
pub(crate) const LONG_SCAN: usize = 256;

/// What is scanned is not read again: large reads, and no room in the cache. A scan of fsck covers about a megabyte, and what is read
/// past its end is copied for nothing.
pub(crate) fn scan(options: &mut ReadOptions) {
    options.set_readahead_size(512 << 10);
    options.fill_cache(false);
}

/// Options of all column families, one per space, sharing one cache.
pub(crate) fn families() -> Vec<ColumnFamilyDescriptor> {
    // Four shards of 12 MiB. By default there would be 64 of 0.75, smaller than the filter of one table of the index, which would
    // then be read again for every round: at four million entries that was a third of all time.
    let mut shards = LruCacheOptions::default();
    shards.set_capacity(BLOCK_CACHE);
    shards.set_num_shard_bits(2);
    let cache = Cache::new_lru_cache_opts(&shards);
    let family = |space: Space| ColumnFamilyDescriptor::new(space.name(), family(space, &cache));
    // RocksDB insists on its default family; nothing is ever in it.
    Space::ALL.into_iter().map(family).chain([ColumnFamilyDescriptor::new("default", Options::default())]).collect()
}

/// Every write of the ledger: durable when it returns.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    // Batches come sorted: each row goes in right behind the one before.
    options.set_memtable_insert_hint_per_batch(true);
    options
}

/// What may be lost with the power: in the write-ahead log, and synced with the next round.
pub(crate) fn unsynced() -> WriteOptions {
    let mut options = WriteOptions::default();
    // Where the store asks its writers to slow down, this one gives up instead: a round must not queue behind it.
    options.set_no_slowdown(true);
    options
}

fn family(space: Space, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_max_write_buffer_number(3);
    match space {
        // Ascending within a log: tables of one log never overlap and are moved down, not rewritten.
        Space::Entries => ascending(&mut options, &mut table),
        // Blocks come packed: nothing is left to compress.
        Space::Payloads => {
            ascending(&mut options, &mut table);
            options.set_compression_type(DBCompressionType::None);
        }
        Space::Index => random(&mut options, &mut table),
        // Hashes and signatures, nothing to compress; and rows of which only the newest version survives a flush.
        Space::Tree | Space::Meta => options.set_write_buffer_size(8 << 20),
    }
    options.set_block_based_table_factory(&table);
    options
}

fn ascending(options: &mut Options, table: &mut BlockBasedOptions) {
    options.set_write_buffer_size(ASCENDING_BUFFER);
    options.set_target_file_size_base(128 << 20);
    options.set_max_bytes_for_level_base(512 << 20);
    options.set_compression_type(DBCompressionType::Lz4);
    // Neighbours resemble each other: larger blocks compress better, and a read takes one.
    table.set_block_size(16 << 10);
}

fn random(options: &mut Options, table: &mut BlockBasedOptions) {
    options.set_write_buffer_size(INDEX_BUFFER);
    options.set_target_file_size_base(64 << 20);
    // Hashed keys: every table overlaps every other, so whatever is moved down a level rewrites what lies there. Merging tables of
    // like size writes each row two to three times until ten million events, where levels wrote it some ten times.
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_level_zero_file_num_compaction_trigger(INDEX_TABLES);
    options.set_compression_type(DBCompressionType::None);
    // Nearly every look-up is for something that is not there: the filters answer it, in tables and in memory.
    table.set_bloom_filter(10.0, false);
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.05);
}
