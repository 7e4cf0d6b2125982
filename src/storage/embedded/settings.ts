import { storageLimits } from '../limits.ts'

/**
 * The embedded server's settings, given on its command line so that no file has to be kept in step.
 *
 * Durable: fsync, synchronous_commit and full_page_writes are on. Small: no parallel, replication or I/O workers, 64 MB
 * of buffers touched as needed. Discreet: it listens on no network, and its log never repeats a statement or a value.
 */
export function serverSettings(socketFolder: string): Record<string, string> {
  return {
    listen_addresses: '',
    unix_socket_directories: socketFolder,
    unix_socket_permissions: '0700',
    max_connections: String(storageLimits.serverConnectionsMax),
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    shared_buffers: '64MB',
    max_wal_size: '512MB',
    // no replicas: each pool database stands alone, so the log holds what crash recovery needs
    wal_level: 'minimal',
    max_wal_senders: '0',
    max_logical_replication_workers: '0',
    max_worker_processes: '2',
    max_parallel_workers_per_gather: '0',
    autovacuum_max_workers: '2',
    io_method: 'sync',
    jit: 'off',
    temp_file_limit: '1GB',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_line_prefix: '',
    log_min_messages: 'warning',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    log_checkpoints: 'off',
    lc_messages: 'C',
    cluster_name: 'lichen',
  }
}
