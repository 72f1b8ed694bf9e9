/* SPDX-License-Identifier: Apache-2.0 */
/* format.h - numbers of the qcow2 format, version 3 (QEMU's docs/interop/qcow2.txt); all in big-endian order in the file */
#ifndef BL_DISK_FORMAT_H
#define BL_DISK_FORMAT_H

#define QCOW2_MAGIC   0x514649fbu /* "QFI\xfb" */
#define QCOW2_VERSION 3u

/* Offsets of the header's fields, in bytes. */
#define QCOW2_AT_VERSION           4
#define QCOW2_AT_BACKING           8 /* u64 offset of the name, u32 length at 16 */
#define QCOW2_AT_CLUSTER_BITS      20
#define QCOW2_AT_SIZE              24 /* u64 */
#define QCOW2_AT_CRYPT             32
#define QCOW2_AT_L1_ENTRIES        36
#define QCOW2_AT_L1_OFFSET         40 /* u64 */
#define QCOW2_AT_REFTABLE_OFFSET   48 /* u64 */
#define QCOW2_AT_REFTABLE_CLUSTERS 56
#define QCOW2_AT_SNAPSHOTS         60
#define QCOW2_AT_INCOMPATIBLE      72 /* u64, as the next two */
#define QCOW2_AT_COMPATIBLE        80
#define QCOW2_AT_AUTOCLEAR         88
#define QCOW2_AT_REFCOUNT_ORDER    96
#define QCOW2_AT_HEADER_BYTES      100
#define QCOW2_HEADER_BYTES_LEAST   104 /* what version 3 began with; later fields are not needed */

#define QCOW2_INCOMPATIBLE_DIRTY    0x01u
#define QCOW2_INCOMPATIBLE_CORRUPT  0x02u
#define QCOW2_INCOMPATIBLE_EXTERNAL 0x04u
#define QCOW2_INCOMPATIBLE_ZSTD     0x08u
#define QCOW2_INCOMPATIBLE_EXTENDED 0x10u

#define QCOW2_CLUSTER_BITS_LEAST  9u
#define QCOW2_CLUSTER_BITS_MOST   21u
#define QCOW2_REFCOUNT_ORDER_MOST 6u
#define QCOW2_TABLE_BYTES_MOST    (8u << 20) /* of an L1 or a refcount table */

/* Entries of L1 and L2 tables. */
#define QCOW2_COPIED            (1ull << 63) /* its cluster's count is exactly one */
#define QCOW2_COMPRESSED        (1ull << 62)
#define QCOW2_ZERO              1ull
#define QCOW2_OFFSET            0x00fffffffffffe00ull
#define QCOW2_L1_RESERVED       (~(QCOW2_COPIED | QCOW2_OFFSET))
#define QCOW2_L2_RESERVED       (~(QCOW2_COPIED | QCOW2_OFFSET | QCOW2_ZERO))
#define QCOW2_REFTABLE_RESERVED 0x1ffull
#define QCOW2_FILE_MOST         (1ull << 56) /* what an entry can address */

#endif
