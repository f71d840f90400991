-- SPDX-License-Identifier: Apache-2.0
-- The database `trade`. Applied at the source, as often as wanted: every statement may run twice.
-- Every table has a primary key (replication finds rows by it), and what is compared byte by byte
-- is binary, so that no collation decides whether two keys are one.

-- id is a UUID of version 7, made by whoever writes: never given twice, not even when an order that
-- was never answered is lost with a region. idem_key is the client's: one order a key.
CREATE TABLE IF NOT EXISTS orders (
  id           CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  idem_key     VARBINARY(64)    NOT NULL,
  country      CHAR(2) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  customer     VARCHAR(80)      NOT NULL,
  item         VARCHAR(120)     NOT NULL,
  quantity     INT UNSIGNED     NOT NULL,
  amount_cents BIGINT UNSIGNED  NOT NULL,
  region       VARCHAR(63) CHARACTER SET ascii NOT NULL,   -- whose api wrote it
  created_at   DATETIME(6)      NOT NULL,                  -- UTC
  PRIMARY KEY (id),
  UNIQUE KEY by_key (idem_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS shipments (
  id         CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_id   CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  carrier    VARCHAR(40)  NOT NULL,
  tracking   VARCHAR(80)  NOT NULL DEFAULT '',
  state      VARCHAR(20) CHARACTER SET ascii NOT NULL,
  created_at DATETIME(6)  NOT NULL,
  updated_at DATETIME(6)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY by_order (order_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- What a transaction has to say to others, written with it.
CREATE TABLE IF NOT EXISTS outbox (
  id          CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  routing_key VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  body        MEDIUMBLOB   NOT NULL,
  created_at  DATETIME(6)  NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- What a consumer has dealt with, written with what it did about it.
CREATE TABLE IF NOT EXISTS inbox (
  consumer    VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  message_id  CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at  DATETIME(6)  NOT NULL,
  PRIMARY KEY (consumer, message_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
