/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4.c - formatting and finishing; see ext4.h
 *
 * What is formatted, and why:
 * - no metadata checksums and 32-bit block numbers: the base is verified when it is built, and an overlay's checksums would
 *   cost every box time; 16 TiB is more than a box gets.
 * - uninit_bg with all inode tables marked as zeroed: the file is sparse, so they are, and the guest's kernel starts no
 *   thread to do it again.
 * - a resize inode with room to grow 128 times: the guest grows its disk online to what the box asks for.
 * - a journal of 16 MiB, so that a box survives that its host dies. It is all zeros but for its first block.
 * - no lost+found: images have none, and e2fsck makes it when it needs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/os.h"
#include "image/loader/ext4_private.h"

#define BYTES_PER_INODE     16384u
#define JOURNAL_BLOCKS      4096u
#define RESERVED_GDT_BLOCKS 127u
#define FIXED_TIME          1 /* seconds since the epoch; 0 would mean "now" to libext2fs */
#define INODE_SIZE          256u
#define EXTRA_INODE_SIZE    32u
#define LOG_GROUPS_PER_FLEX 4u

static void load_messages(void)
{
    initialize_ext2_error_table();
}

int bl_ext4_fail(struct bl_ext4 *ext4, errcode_t code, const char *what, struct bl_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL) {
        ext4->full = true;
        return bl_fail(err, BL_RESOURCE_EXHAUSTED, 0, "the image does not fit its disk");
    }

    int unwritten = bl_ext4_io_failure();

    if (code > 255 && unwritten)
        code = unwritten;
    if (code == EXT2_ET_NO_MEMORY || code == ENOMEM)
        return bl_fail_memory(err);
    if (code > 0 && code < 256)
        return bl_fail(err, code == ENOSPC || code == EDQUOT ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, (int)code, "%s", what);
    pthread_once(&once, load_messages);
    return bl_fail(err, BL_INTERNAL, 0, "%s: %s", what, error_message(code));
}

bool bl_ext4_is_full(const struct bl_ext4 *ext4)
{
    return ext4->full;
}

static void describe(struct ext2_super_block *super, uint64_t bytes)
{
    uint64_t blocks = bytes / BL_EXT4_BLOCK;

    ext2fs_blocks_count_set(super, blocks);
    super->s_inodes_count = (uint32_t)(bytes / BYTES_PER_INODE);
    super->s_log_block_size = 2;
    super->s_log_cluster_size = 2;
    super->s_rev_level = EXT2_DYNAMIC_REV;
    super->s_inode_size = INODE_SIZE;
    super->s_log_groups_per_flex = LOG_GROUPS_PER_FLEX;
    super->s_reserved_gdt_blocks = RESERVED_GDT_BLOCKS;
    super->s_feature_compat = EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX | EXT2_FEATURE_COMPAT_EXT_ATTR;
    super->s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_FLEX_BG;
    super->s_feature_ro_compat = EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
                                 EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |
                                 EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE;
}

/* complete_super() - What ext2fs_initialize() does not take from its parameters. */
static void complete_super(struct ext2_super_block *super, const uint8_t *uuid)
{
    memcpy(super->s_uuid, uuid, sizeof super->s_uuid);
    memcpy(super->s_hash_seed, uuid, sizeof super->s_hash_seed);
    super->s_def_hash_version = EXT2_HASH_HALF_MD4;
    super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
    super->s_max_mnt_count = -1;
    super->s_checkinterval = 0;
    super->s_mkfs_time = super->s_lastcheck = super->s_wtime = FIXED_TIME;
    super->s_want_extra_isize = super->s_min_extra_isize = EXTRA_INODE_SIZE;
    super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
    super->s_creator_os = EXT2_OS_LINUX;
    memcpy(super->s_volume_name, "boxlite", 7);
}

/* reserve() - Mark the inodes that ext4 keeps for itself, and the tables as zeroed. */
static void reserve(ext2_filsys fs)
{
    for (ext2_ino_t i = 1; i < EXT2_FIRST_INODE(fs->super); i++)
        ext2fs_inode_alloc_stats2(fs, i, +1, i == EXT2_ROOT_INO);
    for (dgrp_t i = 0; i < fs->group_desc_count; i++)
        ext2fs_bg_flags_set(fs, i, EXT2_BG_INODE_ZEROED);
    ext2fs_mark_ib_dirty(fs);
}

static int format(struct bl_ext4 *ext4, uint64_t bytes, const uint8_t *uuid, struct bl_error *err)
{
    struct ext2_super_block parameters = {0};
    struct ext2fs_journal_params journal = {.num_journal_blocks = JOURNAL_BLOCKS};
    char name[16];
    errcode_t code;

    describe(&parameters, bytes);
    snprintf(name, sizeof name, "%d", ext4->fd);
    code = ext2fs_initialize(name, EXT2_FLAG_EXCLUSIVE | EXT2_FLAG_64BITS, &parameters, (io_manager)(uintptr_t)&bl_ext4_io_manager,
                             &ext4->fs);
    if (code)
        return bl_ext4_fail(ext4, code, "format the disk", err);
    ext4->fs->now = FIXED_TIME;
    complete_super(ext4->fs->super, uuid);
    code = ext2fs_allocate_tables(ext4->fs);
    if (!code) {
        reserve(ext4->fs);
        code = ext2fs_create_resize_inode(ext4->fs);
    }
    if (!code)
        code = ext2fs_add_journal_inode3(ext4->fs, &journal, ~0ULL, EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK);
    return code ? bl_ext4_fail(ext4, code, "format the disk", err) : 0;
}

int bl_ext4_create(int fd, uint64_t bytes, const uint8_t *uuid, struct bl_ext4 **out, struct bl_error *err)
{
    struct bl_ext4 *ext4 = calloc(1, sizeof *ext4);

    if (!ext4)
        return bl_fail_memory(err);
    ext4->fd = fd;
    ext4->pending.bytes = malloc(PENDING_BYTES);
    if (!ext4->pending.bytes)
        bl_fail_memory(err);
    else if (bl_os.ftruncate(fd, (off_t)bytes))
        bl_fail(err, errno == ENOSPC || errno == EFBIG ? BL_RESOURCE_EXHAUSTED : BL_STORAGE, errno,
                "make a file of %" PRIu64 " MiB for the disk", bytes >> 20);
    else if (!format(ext4, bytes, uuid, err)) {
        ext4->cursor = ext4->fs->super->s_first_data_block;
        *out = ext4;
        return 0;
    }
    bl_ext4_free(ext4);
    return -1;
}

void bl_ext4_free(struct bl_ext4 *ext4)
{
    if (!ext4)
        return;
    if (ext4->fs) {
        /* Nothing is to be written any more: what was finished is clean, and the rest is thrown away. */
        ext4->fs->flags &= ~(EXT2_FLAG_DIRTY | EXT2_FLAG_BB_DIRTY | EXT2_FLAG_IB_DIRTY);
        ext2fs_free(ext4->fs);
    }
    free(ext4->pending.bytes);
    free(ext4);
}

uint32_t bl_ext4_allocate(struct bl_ext4 *ext4, uint32_t wanted, uint32_t *first, struct bl_error *err)
{
    uint64_t last = ext2fs_blocks_count(ext4->fs->super) - 1;
    blk64_t start, used;

    if (ext2fs_find_first_zero_block_bitmap2(ext4->fs->block_map, ext4->cursor, last, &start) &&
        ext2fs_find_first_zero_block_bitmap2(ext4->fs->block_map, ext4->fs->super->s_first_data_block, last, &start)) {
        bl_ext4_fail(ext4, EXT2_ET_BLOCK_ALLOC_FAIL, "", err);
        return 0;
    }

    uint64_t end = start + wanted - 1 < last ? start + wanted - 1 : last;

    if (!ext2fs_find_first_set_block_bitmap2(ext4->fs->block_map, start, end, &used))
        end = used - 1;

    uint32_t count = (uint32_t)(end - start + 1);

    ext2fs_block_alloc_stats_range(ext4->fs, start, count, +1);
    ext4->cursor = end < last ? end + 1 : ext4->fs->super->s_first_data_block;
    *first = (uint32_t)start;
    return count;
}

int bl_ext4_finish(struct bl_ext4 *ext4, uint64_t *used_bytes, struct bl_error *err)
{
    struct ext2_super_block *super = ext4->fs->super;
    errcode_t code;

    if (bl_ext4_flush(ext4, err))
        return -1;
    ext2fs_set_gdt_csum(ext4->fs);
    super->s_state |= EXT2_VALID_FS;
    super->s_kbytes_written = 0;
    ext2fs_mark_super_dirty(ext4->fs);
    code = ext2fs_flush(ext4->fs);
    if (code)
        return bl_ext4_fail(ext4, code, "write the disk", err);
    if (bl_os.fsync(ext4->fd))
        return bl_ext4_fail(ext4, errno, "write the disk", err);
    if (used_bytes)
        *used_bytes = (ext2fs_blocks_count(super) - ext2fs_free_blocks_count(super)) * BL_EXT4_BLOCK;
    return 0;
}
